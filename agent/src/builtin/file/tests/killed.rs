//! Uploads whose agent died in the moment in which they were given their owner and mode.

use super::*;

#[tokio::test]
async fn an_upload_that_was_given_away_before_its_agent_died_is_begun_anew_or_swept() {
    if !geteuid().is_root() {
        // nobody else can give anything away
        return;
    }
    let mut desk = Desk::new();
    let upload = |map: RawMap| map.text("upload", &"c".repeat(32));
    let begin = |map: RawMap| upload(map).uint("offset", 0).text("data", "x");
    let query = |map: RawMap| upload(map).bool("query", true);
    let there = |answer: Raw| answer.decode::<serde_json::Value>().unwrap();
    // the next start knows nothing but what is on the disk
    let give_and_restart = |desk: &mut Desk| {
        let (names, _) = desk.found();
        let file = desk.folder.path().join("root").join(&names[0]);
        chown(&file, Some(NOBODY), None).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let config = FilesConfig { upload_age: Duration::ZERO, ..FilesConfig::default() };
        desk.files.uploads = Arc::new(Uploads::new(&desk.folder.path().join("state"), &config));
    };
    desk.begin(begin).await.unwrap();
    give_and_restart(&mut desk);
    assert_eq!(there(desk.begin(query).await.unwrap()), serde_json::json!({"size": 0}));
    desk.begin(begin).await.unwrap();
    give_and_restart(&mut desk);
    sweep(&desk.files);
    assert_eq!(desk.found(), (vec![], vec![]));
    // without a note it is not this agent's
    desk.begin(begin).await.unwrap();
    give_and_restart(&mut desk);
    let (_, notes) = desk.found();
    fs::remove_file(desk.folder.path().join("state/uploads").join(&notes[0])).unwrap();
    assert_eq!(desk.begin(query).await.unwrap_err().code, FaultCode::Rejected);
    assert_eq!(desk.found().0.len(), 1);
}

#[test]
fn an_upload_that_got_its_mode_before_its_agent_died_and_cannot_be_opened_is_begun_anew() {
    let desk = Desk::new();
    let root = desk.folder.path().join("root");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(desk.folder.path(), 0o755);
    mode(&root, 0o777);
    desk.files.uploads.secret().unwrap();
    let (place, name) =
        (desk.files.roots.place(&root.join("x"), Need::Write).unwrap(), OsStr::new(".redpoll-x"));
    let spot = || walk(&place, &desk.files.protected.now()).unwrap();
    Part::create(spot(), name.to_owned(), desk.files.uploads.note(name)).unwrap();
    if geteuid().is_root() {
        chown(root.join(name), Some(NOBODY), None).unwrap();
    }
    mode(&root.join(name), 0o400);
    let note = desk.files.uploads.note(name);
    let opened = unprivileged(|| Part::reopen(spot(), name.to_owned(), note, &Cancelled::default()));
    assert!(opened.unwrap().is_err());
    assert_eq!(desk.found().0, Vec::<String>::new());
}
