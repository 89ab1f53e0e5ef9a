//! Packages: whole or not at all, and nothing of others is lost.

use std::os::unix::fs::symlink;

use ffrtmp_core::error::Code;
use ffrtmp_core::job::Parameters;
use ffrtmp_core::plan::OutputRequest;
use ffrtmp_core::scenario::Scenario;

use super::super::Staging;
use super::*;

/// Every file below a directory with its content, hidden ones too.
fn tree(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    sync(root, Path::new(""), &mut files).unwrap();
    let content = |path: &Path| fs::read_to_string(root.join(path)).unwrap();
    files.iter().map(|file| (file.path.display().to_string(), content(&file.path))).collect()
}

fn files(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
}

fn fill(package: &StagedPackage, list: &[(&str, &str)]) {
    for (path, content) in list {
        let path = package.path().with_file_name("").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

const NEW: &[(&str, &str)] = &[("720p/1.ts", "a"), ("720p/2.ts", "bc"), ("film.m3u8", "list"), ("poster.jpg", "p")];
const MARK: (&str, &str) = ("720p/.ffrtmp-package", "film.m3u8\n");
const OLD: &[(&str, &str)] = &[("720p/1.ts", "old"), ("720p/9.ts", "old"), ("film.m3u8", "old"), ("poster.jpg", "old")];

#[test]
fn a_package_appears_whole_and_replaces_an_older_one() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let package = StagedPackage::new(&root.path().join("film.m3u8"), None).unwrap();
        let hidden = package.path().parent().unwrap().metadata().unwrap();
        assert_eq!(hidden.permissions().mode() & 0o777, 0o700);
        fill(&package, NEW);
        let published = package.commit().unwrap();
        assert_eq!((published.path, published.size_bytes), (root.path().join("film.m3u8"), 4));
        let others: Vec<_> = published.others.iter().map(|file| (file.path.clone(), file.size_bytes)).collect();
        let beside = |name: &str, size| (root.path().join(name), size);
        assert_eq!(others, [beside("720p/1.ts", 1), beside("720p/2.ts", 2), beside("poster.jpg", 1)]);
        assert_eq!(tree(root.path()), files(&[&[MARK], NEW].concat()));
        // The second time there is something to replace.
        for (path, content) in OLD {
            fs::write(root.path().join(path), content).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_published_changes_nothing() {
    type Obstacle = fn(&Path);
    let obstacles: [(&str, Obstacle); 4] = [
        ("a link for a file", |root| {
            fs::remove_file(root.join("poster.jpg")).unwrap();
            symlink("film.m3u8", root.join("poster.jpg")).unwrap();
        }),
        ("a directory for a file", |root| {
            fs::remove_file(root.join("poster.jpg")).unwrap();
            fs::create_dir(root.join("poster.jpg")).unwrap();
        }),
        ("a file for a directory", |root| {
            fs::remove_dir_all(root.join("720p")).unwrap();
            fs::write(root.join("720p"), "file").unwrap();
        }),
        ("a directory for the primary", |root| {
            fs::remove_file(root.join("film.m3u8")).unwrap();
            fs::create_dir(root.join("film.m3u8")).unwrap();
        }),
    ];
    for (what, obstacle) in obstacles {
        let root = tempfile::tempdir().unwrap();
        let package = StagedPackage::new(&root.path().join("film.m3u8"), None).unwrap();
        fill(&package, NEW);
        fs::create_dir(root.path().join("720p")).unwrap();
        for (path, content) in OLD.iter().chain([&MARK]) {
            fs::write(root.path().join(path), content).unwrap();
        }
        obstacle(root.path());
        let names = || {
            let entries = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap());
            let mut names: Vec<_> = entries.map(|entry| (entry.file_name(), entry.file_type().unwrap())).collect();
            names.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"."));
            names.sort_by(|one, other| one.0.cmp(&other.0));
            names
        };
        let before = names();
        assert_eq!(package.commit().unwrap_err().code(), Code::OutputNotWritable, "{what}");
        assert_eq!(names(), before, "{what}");
        if root.path().join("720p").is_dir() {
            assert_eq!(
                tree(&root.path().join("720p")),
                files(&[(".ffrtmp-package", MARK.1), ("1.ts", "old"), ("9.ts", "old")]),
                "{what}"
            );
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), before.len(), "{what}");
    }
}

#[test]
fn a_package_without_its_primary_file_is_not_published() {
    let root = tempfile::tempdir().unwrap();
    let package = StagedPackage::new(&root.path().join("film.m3u8"), None).unwrap();
    fill(&package, &[("720p/1.ts", "a")]);
    package.commit().unwrap_err();
    assert!(tree(root.path()).is_empty());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_left_is_swept_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("film.m3u8");
    let alive = StagedPackage::new(&target, None).unwrap();
    let killed = root.path().join(".film.m3u8.abcdefgh.parts");
    fs::create_dir(&killed).unwrap();
    fs::write(killed.join("1.ts"), "half").unwrap();
    let other = root.path().join(".film.m3u8.notours");
    fs::create_dir(&other).unwrap();
    let next = StagedPackage::new(&target, None).unwrap();
    assert!(!killed.exists() && other.exists() && alive.path().parent().unwrap().exists());
    drop((alive, next));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_that_is_no_package_of_this_name_stays() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("720p");
    let staged = || {
        let package = StagedPackage::new(&root.path().join("film.m3u8"), None).unwrap();
        fill(&package, NEW);
        package
    };
    let foreign: [&[(&str, &str)]; 4] = [
        &[("720p/1.ts", "mine")],
        &[("720p/.ffrtmp-package", "film.mpd\n"), ("720p/1.ts", "mine")],
        &[("720p/.ffrtmp-package", "film.m3u8")],
        &[("720p/.ffrtmp-package/film.m3u8", "a directory")],
    ];
    for before in foreign {
        for (path, content) in before {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let error = staged().commit().unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::OutputNotWritable, Some("output")), "{error}");
        assert!(error.to_string().contains("720p is not a package of film.m3u8"), "{error}");
        assert!(error.hint_text().contains("remove the directory"), "{error}");
        assert_eq!(tree(root.path()), files(before));
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    staged().commit().unwrap();
    assert_eq!(tree(root.path()), files(&[&[MARK], NEW].concat()));
}

#[test]
fn the_source_is_spared_by_whatever_name() {
    let all = files(&[&[MARK], OLD].concat());
    for (source, refused) in [("poster.jpg", true), ("720p/9.ts", true), ("film.m3u8", true), ("elsewhere", false)] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("720p")).unwrap();
        for (path, content) in OLD.iter().chain([&MARK]) {
            fs::write(root.path().join(path), content).unwrap();
        }
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("film.mp4"), "source").unwrap();
        let named = outside.path().join("link.mp4");
        let source = if refused { root.path().join(source) } else { outside.path().join("film.mp4") };
        symlink(&source, &named).unwrap();
        let published = StagedPackage::new(&root.path().join("film.m3u8"), Some(&named)).and_then(|package| {
            fill(&package, NEW);
            package.commit()
        });
        if refused {
            let error = published.unwrap_err();
            assert_eq!((error.code(), error.field_name()), (Code::OutputIsInput, Some("output")), "{error}");
            assert_eq!(tree(root.path()), all, "{source:?}");
        } else {
            published.unwrap();
            assert_eq!(tree(root.path()), files(&[&[MARK], NEW].concat()));
        }
    }
}

#[test]
fn manifests_of_one_stem_are_told_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    let place = |name: &str, source: Option<&Path>| {
        let request = OutputRequest::for_output(Scenario::default(), Parameters::default(), Some(name));
        Staging::new(&root.path().join(name), &request, source)
    };
    let Staging::Package(first) = place("film.m3u8", None).unwrap() else { panic!("a manifest is a package") };
    fill(&first, &[("film.m3u8", "list"), ("film/720p/1.ts", "a")]);
    first.commit().unwrap();
    drop(place("film.m3u8", None).unwrap());
    let before = tree(root.path());
    assert_eq!(place("film.mpd", None).unwrap_err().code(), Code::OutputNotWritable);
    let inside = root.path().join("film/720p/1.ts");
    assert_eq!(place("film.m3u8", Some(&inside)).unwrap_err().code(), Code::OutputIsInput);
    // A file has no directory of its name.
    drop(place("film.mp4", None).unwrap());
    assert_eq!(tree(root.path()), before);
}
