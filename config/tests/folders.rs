//! Whose the folders are that lead to a policy, a manifest or a program: real ones, with real links.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use redpoll_config::{PolicyOwner, load_folder, load_policy};
use rustix::process::geteuid;
use rustix::thread::{Uid, set_thread_res_uid};
use tempfile::TempDir;

/// The number of `nobody`, in every Linux.
const NOBODY: u32 = 65534;

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// A folder with these in it, all open to everybody's eyes.
fn folders(names: &[&str]) -> (TempDir, Vec<PathBuf>) {
    let outer = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = names.iter().map(|name| outer.path().join(name)).collect();
    for path in &paths {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).unwrap();
    (outer, paths)
}

fn problems(folder: &Path) -> Vec<String> {
    load_folder(folder).problems.iter().map(ToString::to_string).collect()
}

/// Does something as a user who is not root, and whose all of this is.
fn unprivileged<T: Send>(paths: &[&Path], work: impl FnOnce() -> T + Send) -> T {
    let nobody = Uid::from_raw(NOBODY);
    let is_root = geteuid().is_root();
    for path in paths.iter().filter(|_| is_root) {
        chown(path, Some(NOBODY), None).unwrap();
    }
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            if is_root {
                // of this thread alone
                set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        });
        working.join().unwrap()
    })
}

#[test]
fn whoever_owns_a_folder_of_a_link_on_the_way_chooses_and_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let (_outer, paths) = folders(&["d", "opt", "bob", "real"]);
    let [d, opt, bob, real] = &paths[..] else { unreachable!() };
    for name in ["file", "policy.toml"] {
        write(&real.join(name), "");
        symlink(real.join(name), bob.join(name)).unwrap();
        symlink(Path::new("../bob").join(name), opt.join(name)).unwrap();
    }
    symlink(real, bob.join("folder")).unwrap();
    symlink(bob.join("folder"), opt.join("folder")).unwrap();
    fs::create_dir_all(bob.join("1/2")).unwrap();
    symlink("../bob/1/2/../../../real/file", opt.join("around")).unwrap();
    symlink("later", bob.join("dangling")).unwrap();
    symlink(bob.join("dangling"), opt.join("dangling")).unwrap();
    let policy =
        |owner| load_policy(&opt.join("policy.toml"), owner).map(drop).map_err(|all| all[0].what.clone());
    let ways =
        ["file", "folder/file", "folder/later", "dangling", "around"].map(|name| format!("../opt/{name}"));
    for program in ways {
        write(&d.join("a.toml"), &format!("name = \"a\"\ncommand = [\"{program}\"]\n"));
        chown(bob, Some(0), None).unwrap();
        assert_eq!(problems(d), Vec::<String>::new(), "{program}");
        assert_eq!((policy(PolicyOwner::Agent), policy(PolicyOwner::Root)), (Ok(()), Ok(())));
        chown(bob, Some(NOBODY), None).unwrap();
        let said = problems(d);
        assert!(said.len() == 1 && said[0].contains("/bob belongs to user 65534"), "{program}: {said:?}");
        for owner in [PolicyOwner::Agent, PolicyOwner::Root] {
            assert!(policy(owner).unwrap_err().contains("/bob belongs to user 65534"));
        }
    }
}

#[test]
fn a_folder_of_a_user_may_be_open_to_its_group_unless_what_decides_is_right_in_it() {
    let (outer, paths) = folders(&["redpoll", "redpoll/procedures.d", "redpoll/bin", "redpoll/links"]);
    let [redpoll, d, bin, links] = &paths[..] else { unreachable!() };
    write(&bin.join("tool"), "#!/bin/true\n");
    symlink("../bin/tool", links.join("tool")).unwrap();
    symlink("bin", redpoll.join("current")).unwrap();
    let manifest = d.join("a.toml");
    let (tool, list) = (bin.join("tool"), [outer.path(), redpoll, d, bin, links]);
    write(&manifest, "");
    let owned: Vec<&Path> = list.into_iter().chain([manifest.as_path(), tool.as_path()]).collect();
    unprivileged(&owned, || {
        let open = |folder: &Path| fs::set_permissions(folder, Permissions::from_mode(0o775)).unwrap();
        let close = |folder: &Path| fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        let said = |program: &str| {
            write(&manifest, &format!("name = \"a\"\ncommand = [\"{program}\"]\n"));
            problems(d)
        };
        open(outer.path());
        open(redpoll);
        for program in ["true", "../bin/tool", "../current/tool", "../links/tool", "../none/later"] {
            assert_eq!(said(program), Vec::<String>::new(), "{program}");
        }
        for (folder, program) in [
            (d, "true"),
            (bin, "../bin/tool"),
            (bin, "../current/tool"),
            (links, "../links/tool"),
            (bin, "../links/tool"),
            (redpoll, "../later"),
        ] {
            open(folder);
            let said = said(program);
            assert!(said.len() == 1 && said[0].contains("chmod go-w"), "{folder:?} {program}: {said:?}");
            if folder != redpoll {
                close(folder);
            }
        }
    });
}

#[test]
fn what_is_in_a_folder_of_a_folder_of_somebody_else_is_not_used() {
    if !geteuid().is_root() {
        return;
    }
    let (_outer, paths) = folders(&["app", "app/bin", "d"]);
    let [app, bin, safe] = &paths[..] else { unreachable!() };
    write(&bin.join("prog"), "#!/bin/true\n");
    write(&bin.join("schema.json"), "{}");
    write(&bin.join("x.toml"), "name = \"a.b\"\ncommand = [\"true\"]\n");
    symlink(bin, safe.join("linked")).unwrap();
    let give = |owner: u32, mode: u32| {
        chown(app, Some(owner), None).unwrap();
        fs::set_permissions(app, Permissions::from_mode(mode)).unwrap();
    };
    let by_link = "command = [\"./linked/prog\"]";
    let schema = "command = [\"true\"]\nargs = \"../app/bin/schema.json\"";
    for fields in ["command = [\"../app/bin/prog\"]", "command = [\"../app/bin/later\"]", by_link, schema] {
        write(&safe.join("a.toml"), &format!("name = \"a\"\n{fields}\n"));
        give(0, 0o755);
        assert_eq!((problems(safe), problems(bin)), (vec![], vec![]), "{fields}");
        give(65534, 0o755);
        for said in [problems(safe), problems(bin)] {
            let [one] = &said[..] else { unreachable!("{said:?}") };
            let words =
                ["/app belongs to user 65534, who can put another file in the place of", "run: chown 0 "];
            assert!(words.iter().all(|word| one.contains(word)), "{one}");
        }
        give(0, 0o775);
        let said = problems(safe);
        assert!(said.len() == 1 && said[0].contains("/app can be changed by others"), "{fields}: {said:?}");
    }
}
