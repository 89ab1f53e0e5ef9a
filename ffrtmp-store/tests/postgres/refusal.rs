//! What cannot be used is refused with the flag and the cure, and never with the password.

use std::time::Duration;

use ffrtmp_core::Code;
use ffrtmp_core::store::Store;
use ffrtmp_store::{PostgresOptions, PostgresStore};

use crate::fixture::{database, job, sql, store, submit};

const SECRET: &str = "s3cret-pw";

async fn refused(dsn: &str) -> (Code, String) {
    let options = PostgresOptions { patience: Duration::from_millis(200), ..PostgresOptions::default() };
    let error = PostgresStore::connect(dsn, options).await.expect_err("it is refused");
    assert_eq!(error.field_name(), Some("--db-dsn"), "{error:?}");
    let mut said = format!("{error:?}");
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        said.push_str(&format!(" {inner} {inner:?}"));
        source = inner.source();
    }
    assert!(!said.contains(SECRET), "{said}");
    (error.code(), said)
}

/// The DSN with other parts.
fn with(dsn: &str, user: &str, database: &str) -> String {
    let place = dsn.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host and port");
    format!("postgres://{user}:{SECRET}@{place}/{database}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_dsn_names_flag_and_cure() {
    let dsn = database().await;
    let name = dsn.rsplit('/').next().expect("a database").to_owned();
    let foreign = |part: &str| format!("{part}://u:{SECRET}@localhost/x");
    for (dsn, code, word) in [
        (foreign("mysql"), Code::InvalidConfig, "postgres://"),
        (format!("postgres://u:{SECRET}@h:port/x"), Code::InvalidConfig, "cannot be read"),
        (
            format!("postgres://u:{SECRET}@127.0.0.1:1/x"),
            Code::Unavailable,
            "no PostgreSQL server answers at 127.0.0.1:1",
        ),
        (with(&dsn, "ffrtmp", &name), Code::InvalidConfig, "password"),
    ] {
        let (found, said) = refused(&dsn).await;
        assert!(found == code && said.contains(word), "{said}");
    }
    let missing = dsn.replace(&name, "no_such_database");
    let (code, said) = refused(&missing).await;
    assert!(code == Code::InvalidConfig && said.contains("createdb no_such_database"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_is_told_which() {
    let dsn = database().await;
    let name = dsn.rsplit('/').next().expect("a database").to_owned();
    let role = format!("poor_{name}");
    sql(&dsn, &format!("CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")).await;
    let (code, said) = refused(&with(&dsn, &role, &name)).await;
    assert!(code == Code::InvalidConfig && said.contains("GRANT CREATE ON DATABASE"), "{said}");
    sql(&dsn, &format!("CREATE SCHEMA ffrtmp AUTHORIZATION {role}")).await;
    let opened = store(&with(&dsn, &role, &name)).await;
    submit(&*opened, job(&[])).await;
}

/// As a standby is, and a database that somebody locked for maintenance.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_may_only_be_read_is_refused() {
    let dsn = database().await;
    let name = dsn.rsplit('/').next().expect("a database").to_owned();
    // From another database: here nothing could be changed any more.
    let other = format!("{}/postgres", dsn.rsplit_once('/').expect("a database").0);
    let only_read = |on: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
    for used in [false, true] {
        if used {
            store(&dsn).await.close().await.expect("closed");
        }
        sql(&other, &only_read("on")).await;
        let (code, said) = refused(&dsn).await;
        assert!(code == Code::Storage && said.contains("read-only") && said.contains("primary"), "{said}");
        sql(&other, &only_read("off")).await;
    }
    submit(&*store(&dsn).await, job(&[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_or_foreign_schema_is_left_alone() {
    let dsn = database().await;
    let first = store(&dsn).await;
    let kept = submit(&*first, job(&[])).await;
    first.close().await.expect("closed");
    sql(&dsn, "UPDATE ffrtmp.about SET schema = 99").await;
    let (code, said) = refused(&dsn).await;
    assert!(code == Code::Storage && said.contains("schema 99"), "{said}");
    sql(&dsn, "UPDATE ffrtmp.about SET schema = 2").await;
    assert_eq!(store(&dsn).await.job(&kept.id.into()).await.expect("there").id, kept.id);

    for foreign in ["CREATE TABLE ffrtmp.jobs (x int)", "CREATE TABLE ffrtmp.about (program text, schema text)"] {
        let dsn = database().await;
        sql(&dsn, &format!("CREATE SCHEMA ffrtmp; {foreign}")).await;
        let before = sql(&dsn, "SELECT relname FROM pg_class WHERE relnamespace = 'ffrtmp'::regnamespace").await;
        let (code, said) = refused(&dsn).await;
        assert!(code == Code::InvalidConfig && said.contains("did not make"), "{said}");
        let after = sql(&dsn, "SELECT relname FROM pg_class WHERE relnamespace = 'ffrtmp'::regnamespace").await;
        assert_eq!(before, after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_that_start_together_make_one_schema() {
    let dsn = database().await;
    let stores = futures_of(&dsn, 6).await;
    for store in &stores {
        submit(&**store, job(&[])).await;
    }
    assert_eq!(sql(&dsn, "SELECT count(*) FROM ffrtmp.about").await.trim(), "1");
}

async fn futures_of(dsn: &str, count: usize) -> Vec<std::sync::Arc<PostgresStore>> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let dsn = dsn.to_owned();
            tokio::spawn(async move { store(&dsn).await })
        })
        .collect();
    let mut stores = Vec::new();
    for task in tasks {
        stores.push(task.await.expect("it starts"));
    }
    stores
}
