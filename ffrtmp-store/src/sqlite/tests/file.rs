//! What becomes of a file that is read-only, damaged, linked, removed or copied.

use std::os::unix::fs::FileExt;

use super::*;
use ffrtmp_core::node::About;

/// A database that was in use before.
async fn used(place: &Place) {
    let store = SqliteStore::open(&place.db()).expect("it opens");
    store.submit(vec![heavy(10)], now()).await.expect("accepted");
    store.close().await.expect("closed");
}

fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.0.path()).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_read_only_file_is_refused_and_left_alone() {
    let place = Place::new();
    used(&place).await;
    let before = fs::read(place.db()).expect("readable");
    fs::set_permissions(place.db(), fs::Permissions::from_mode(0o444)).expect("its mode");
    let error = refusal(&place.db());
    assert_names(&error, &place.db(), if rustix::process::geteuid().is_root() { "read-only" } else { "" });
    assert!(error.hint_text().contains("write permission"), "{}", error.hint_text());
    assert!(fs::read(place.db()).expect("readable") == before);
    fs::set_permissions(place.db(), fs::Permissions::from_mode(0o600)).expect("its mode");
    SqliteStore::open(&place.db()).expect("it opens again");
}

/// Whoever copies the file of a master that has stopped has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_everything_in_the_one_file() {
    for round in 0..30 {
        let place = Place::new();
        let store = SqliteStore::open(&place.db()).expect("it opens");
        store.submit((0..20).map(|_| heavy(100)).collect(), now()).await.expect("accepted");
        store.list_nodes().await.expect("read");
        if round % 2 == 0 {
            store.close().await.expect("closed");
        }
        drop(store);
        assert_eq!(names(&place), ["master.db", "master.db.lock"], "round {round}");
        let copy = place.0.path().join("copy.db");
        fs::copy(place.db(), &copy).expect("copied");
        let count = |db: Connection| db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0));
        assert_eq!(Connection::open(&copy).and_then(count), Ok(20), "round {round}");
    }
}

/// Damage inside a text, which no check of SQLite sees.
#[tokio::test]
async fn a_node_that_cannot_be_read_is_found_at_the_start_and_named_later() {
    const MARK: &str = "0123456789abcdef";
    for damage in [0xff, b'"'] {
        let place = Place::new();
        let store = SqliteStore::open(&place.db()).expect("it opens");
        let about = About { name: "n".into(), cpu_model: MARK.repeat(1000), ..About::default() };
        store.register_node(NodeId::from_u128(1), about, now()).await.expect("registered");
        store.close().await.expect("closed");
        let bytes = fs::read(place.db()).expect("readable");
        let at = bytes.windows(MARK.len()).rposition(|window| window == MARK.as_bytes()).expect("it is there");
        let store = SqliteStore::open(&place.db()).expect("undamaged");
        let file = fs::OpenOptions::new().write(true).open(place.db()).expect("it opens");
        file.write_all_at(&[damage; MARK.len()], at as u64).expect("written");
        let error = store.list_nodes().await.expect_err("it is damaged");
        assert!(error.code() == Code::Storage && error.hint_text().contains("backup"), "{error}");
        drop(store);
        assert_names(&refusal(&place.db()), &place.db(), "damaged");
    }
}

#[tokio::test]
async fn a_file_with_two_names_is_refused() {
    let place = Place::new();
    used(&place).await;
    let other = place.0.path().join("other.db");
    fs::hard_link(place.db(), &other).expect("linked");
    for path in [place.db(), other.clone()] {
        let error = refusal(&path);
        assert_names(&error, &path, "2 names");
    }
    fs::remove_file(other).expect("removed");
    SqliteStore::open(&place.db()).expect("it opens again");
}

/// What is answered must be there after the next start.
#[tokio::test]
async fn nothing_is_accepted_into_a_file_that_was_removed_or_replaced() {
    let place = Place::new();
    used(&place).await;
    let store = SqliteStore::open(&place.db()).expect("it opens");
    let aside = place.0.path().join("aside.db");
    fs::rename(place.db(), &aside).expect("moved away");
    for _ in 0..2 {
        let refused = store.submit(vec![heavy(10)], now()).await.expect_err("there is no file");
        assert!(refused.code() == Code::Storage && refused.to_string().contains("removed or replaced"), "{refused}");
        assert_eq!(store.check().await.expect_err("unwell").code(), Code::Storage);
        fs::copy(&aside, place.db()).expect("another file of the name");
    }
    fs::rename(&aside, place.db()).expect("put back");
    store.submit(vec![heavy(10)], now()).await.expect("accepted again");
    store.check().await.expect("well again");
    store.close().await.expect("closed");
    let reopened = SqliteStore::open(&place.db()).expect("undamaged");
    assert_eq!(reopened.counts().await.expect("answered").by_state.values().sum::<u64>(), 2);
}
