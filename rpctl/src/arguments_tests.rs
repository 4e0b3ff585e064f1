//! Tables of what may be typed after a procedure and what is sent for it.

use std::io::empty;

use super::*;

fn typed(tokens: &[&str]) -> Typed {
    Typed { arguments: tokens.iter().map(|token| (*token).to_owned()).collect(), ..Typed::default() }
}

fn of(tokens: &[&str]) -> Arguments {
    read("sys.echo", &typed(tokens), &mut empty()).unwrap()
}

fn named(entries: &[(&str, Value)]) -> Vec<(Value, Value)> {
    entries.iter().map(|(key, value)| (Value::from(*key), value.clone())).collect()
}

#[test]
fn plain_words_are_positional_text() {
    for word in
        ["x", "", "5", "true", "-5", "a b", "ä=b", "http://host/?a=b", "=x", "5=x", "a b=c", ":=x", "a:b"]
    {
        let out = of(&[word]);
        assert_eq!(out.args, [Value::from(word)], "{word:?}");
        assert!(out.kwargs.is_empty(), "{word:?}");
    }
}

#[test]
fn keys_make_named_arguments() {
    for (word, key, value) in [
        ("a=b", "a", Value::from("b")),
        ("a=", "a", Value::from("")),
        ("a=b=c", "a", Value::from("b=c")),
        ("a.b-c_9=5", "a.b-c_9", Value::from("5")),
        ("_=x", "_", Value::from("x")),
        ("n:=5", "n", Value::from(5)),
        ("n:=-5", "n", Value::from(-5)),
        ("f:=5.0", "f", Value::F64(5.0)),
        ("t:=\"5\"", "t", Value::from("5")),
        ("on:=true", "on", Value::Boolean(true)),
        ("none:=null", "none", Value::Nil),
        ("l:=[1, \"=\"]", "l", Value::Array(vec![1.into(), "=".into()])),
    ] {
        let out = of(&[word]);
        assert_eq!(out.kwargs, named(&[(key, value)]), "{word:?}");
        assert!(out.args.is_empty(), "{word:?}");
    }
}

#[test]
fn one_backslash_takes_the_meaning_away() {
    for (word, text) in [
        ("\\@home", "@home"),
        ("\\\\@home", "\\@home"),
        ("a\\=b", "a=b"),
        ("a\\\\=b", "a\\=b"),
        ("a:\\=b", "a:=b"),
        ("\\home", "\\home"),
        ("C:\\x\\=y", "C:\\x\\=y"),
        ("a\\=b=c", "a=b=c"),
    ] {
        assert_eq!(of(&[word]).args, [Value::from(text)], "{word:?}");
    }
    assert_eq!(of(&["k=\\@home"]).kwargs, named(&[("k", Value::from("@home"))]));
}

#[test]
fn files_are_text_or_binary() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let text = file("text", "grüße\n".as_bytes());
    let binary = file("binary", &[0xff, 0x00]);
    let json = file("json", b"{\"a\": [1]}");

    let out = of(&[&format!("@{text}"), &format!("b=@{binary}"), &format!("j:=@{json}")]);
    assert_eq!(out.args, [Value::from("grüße\n")]);
    let inner = Value::Map(named(&[("a", Value::Array(vec![1.into()]))]));
    assert_eq!(out.kwargs, named(&[("b", Value::Binary(vec![0xff, 0])), ("j", inner)]));

    let missing = folder.path().join("missing").display().to_string();
    let error = read("p", &typed(&[&format!("@{missing}")]), &mut empty()).unwrap_err();
    assert!(matches!(error, ArgumentsError::File { .. }));
    let error = read("p", &typed(&[&format!("j:=@{binary}")]), &mut empty()).unwrap_err();
    assert!(matches!(error, ArgumentsError::NotText { .. }));
}

#[test]
fn a_file_larger_than_any_frame_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let size = u64::try_from(MAX_FRAME_LIMIT).unwrap();
    std::fs::File::create(&path).unwrap().set_len(size + 1).unwrap();
    let word = format!("@{}", path.display());
    let error = read("p", &typed(&[&word]), &mut empty()).unwrap_err();
    assert!(matches!(error, ArgumentsError::FileTooLarge { .. }));
    std::fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
    assert!(read("p", &typed(&[&word]), &mut empty()).is_ok());
}

#[test]
fn standard_input_is_read_once() {
    let out = read("p", &typed(&["@-"]), &mut &b"piped"[..]).unwrap();
    assert_eq!(out.args, [Value::from("piped")]);
    let error = read("p", &typed(&["@-", "@-"]), &mut &b"piped"[..]).unwrap_err();
    assert!(matches!(error, ArgumentsError::StdinTwice));
}

#[test]
fn whole_json_comes_before_single_arguments() {
    let given = Typed {
        args: Some("[1,\"x\"]".into()),
        kwargs: Some("{\"a\":1}".into()),
        argv: vec!["k=v".into(), "@file".into()],
        ..typed(&["y", "b=2"])
    };
    let out = read("p", &given, &mut empty()).unwrap();
    assert_eq!(out.args, [1.into(), "x".into(), "y".into(), "k=v".into(), Value::from("@file")]);
    assert_eq!(out.kwargs, named(&[("a", 1.into()), ("b", "2".into())]));
}

#[test]
fn json_of_the_wrong_shape_is_refused() {
    let error = |given: Typed| read("p", &given, &mut empty()).unwrap_err();
    let args = |json: &str| Typed { args: Some(json.into()), ..Typed::default() };
    let kwargs = |json: &str| Typed { kwargs: Some(json.into()), ..Typed::default() };
    assert!(matches!(error(args("{}")), ArgumentsError::Shape { .. }));
    assert!(matches!(error(args("[")), ArgumentsError::Json { .. }));
    assert!(matches!(error(kwargs("[]")), ArgumentsError::Shape { .. }));
    assert!(matches!(error(kwargs("{\"$bin\":\"\"}")), ArgumentsError::Shape { .. }));
    assert!(matches!(error(typed(&["n:=five"])), ArgumentsError::Json { .. }));
    assert!(matches!(error(typed(&["a=1", "a:=1"])), ArgumentsError::Twice { .. }));
    let both = Typed { kwargs: Some("{\"a\":1}".into()), ..typed(&["a=1"]) };
    assert!(matches!(error(both), ArgumentsError::Twice { .. }));
}

#[test]
fn exec_run_takes_its_command_after_the_dashes() {
    let given = Typed {
        argv: vec!["sh".into(), "-c".into(), "a=b".into()],
        env: vec!["LANG=C".into(), "EMPTY=".into()],
        cwd: Some("/tmp".into()),
        stdin: Some("-".into()),
        ..typed(&["limit:=5"])
    };
    for procedure in ["exec.run", "exec.run@1"] {
        let out = read(procedure, &given, &mut &b"in"[..]).unwrap();
        assert!(out.args.is_empty());
        let argv = Value::Array(vec!["sh".into(), "-c".into(), "a=b".into()]);
        let env = Value::Map(named(&[("LANG", "C".into()), ("EMPTY", "".into())]));
        let stdin = Value::Binary(b"in".to_vec());
        let expected =
            [("limit", 5.into()), ("argv", argv), ("env", env), ("cwd", "/tmp".into()), ("stdin", stdin)];
        assert_eq!(out.kwargs, named(&expected));
    }
}

#[test]
fn options_of_exec_run_belong_to_exec_run() {
    let env = Typed { env: vec!["A=b".into()], ..Typed::default() };
    assert!(matches!(read("p", &env, &mut empty()), Err(ArgumentsError::OnlyExec { option: "--env", .. })));
    for text in ["A", "=b"] {
        let env = Typed { env: vec![text.into()], ..Typed::default() };
        assert!(matches!(read("exec.run", &env, &mut empty()), Err(ArgumentsError::Env { .. })), "{text:?}");
    }
    let twice = Typed { env: vec!["A=b".into(), "A=c".into()], ..Typed::default() };
    assert!(matches!(read("exec.run", &twice, &mut empty()), Err(ArgumentsError::Twice { .. })));
}
