//! A secret of a call in the texts of what its executable gives: masked by value.

#![expect(clippy::unwrap_used, reason = "test code")]

mod procedures_support;

use procedures_support::{Offer, json_shell, offer, python_worker, text_shell};
use redpoll_agent::exec;
use redpoll_common::wire::{Fault, Raw};
use redpoll_config::Manifest;
use serde_json::{Value, json};

const SECRET: &str = "hunter2";

fn redacting(manifest: Manifest) -> Offer {
    offer(Manifest { redact: vec!["password".to_owned(), "keys.*".to_owned()], ..manifest })
}

fn kwargs() -> Value {
    json!({"password": SECRET, "keys": {"a": 987_654, "b": "s3cr3t-b"}})
}

/// Everything that a fault says, in one text.
fn all_of(fault: &Fault) -> String {
    let raws = [&fault.args, &fault.state, &fault.data];
    let raws = raws.map(|raw| raw.as_ref().map(|raw| raw.decode::<Value>().unwrap().to_string()));
    let [class, module, trace] = [&fault.class, &fault.module, &fault.trace].map(Clone::clone);
    format!("{} {class:?} {module:?} {trace:?} {raws:?}", fault.message)
}

fn assert_hidden(text: &str) {
    for word in [SECRET, "987654", "s3cr3t-b"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert!(text.contains("***"), "{text}");
}

/// An exception that repeats all secrets in all its parts.
const EXCEPTION: &str = r#""exception": {"class": "Bad_hunter2", "module": "m.hunter2", "message": "bad password 'hunter2', 987654",
 "trace": "File s3cr3t-b hunter2", "args": ["hunter2", 987654], "state": {"deep": ["x hunter2"]}, "data": {"hunter2": "s3cr3t-b"}}"#;

#[tokio::test]
async fn an_exception_of_a_fresh_process_tells_no_secret_in_any_of_its_parts() {
    let script = format!("read call; cat <<'END'\n{{{}}}\nEND\n", EXCEPTION.replace('\n', ""));
    let fault = redacting(json_shell(&script)).call(kwargs()).await.unwrap_err();
    let all = all_of(&fault);
    assert_hidden(&all);
    assert_eq!(fault.message, "bad password '***', ***");
    assert_eq!((fault.class.as_deref(), fault.module.as_deref()), (Some("Bad_***"), Some("m.***")));
    // another call's secret is another word
    let fault = redacting(json_shell(&script)).call(json!({"password": "other-one"})).await.unwrap_err();
    assert!(fault.message.contains(SECRET), "{fault}");
}

#[tokio::test]
async fn a_worker_tells_no_secret_in_values_progress_results_exceptions_and_its_standard_error() {
    let body = format!(
        "say(ready=True)\nfor call in lines:\n    if 'call' not in call: continue\n    n = call['call']\n    p = call['kwargs']['password']\n    os.write(2, ('log: ' + p + '\\n').encode())\n    time.sleep(0.05)\n    say(call=n, value='it is ' + p)\n    say(call=n, progress={{'completed': 1, 'details': [p]}})\n    if call['kwargs'].get('end') == 'good': say(call=n, result='text ' + p)\n    elif call['kwargs'].get('end') == 'dead': os.write(2, ('died of ' + p).encode()); sys.exit(7)\n    else: print('{{\"call\": %d, %s}}' % (n, {EXCEPTION:?}.replace('\\n', '')), flush=True)\n"
    );
    let offered = redacting(python_worker(&body));
    let mut with_end = kwargs();
    for end in ["good", "bad", "dead"] {
        with_end["end"] = end.into();
        let mut started = offered.start(&json!([]), &with_end);
        let mut given = String::new();
        while let Some(next) = started.output.next().await {
            given += &match next {
                Ok(raw) => String::from_utf8_lossy(raw.as_bytes()).into_owned(),
                Err(progress) => progress.details.decode::<Value>().unwrap().to_string(),
            };
        }
        assert_hidden(&given);
        assert!(given.contains("log: ***\n") && given.contains("it is ***"), "{given}");
        match started.answer().await {
            Ok(result) => assert_eq!(result, json!("text ***")),
            Err(fault) => assert_hidden(&all_of(&fault)),
        }
    }
}

#[tokio::test]
async fn the_second_half_of_a_late_secret_is_not_told_to_the_next_call_of_a_worker() {
    // until all of it was read: in the call, or between this one and the next
    let body = "say(ready=True)\nimport fcntl, struct, termios\ndef err(text):\n    os.write(2, text)\n    while struct.unpack('i', fcntl.ioctl(2, termios.FIONREAD, b'0000'))[0]: time.sleep(0.001)\nfor call in lines:\n    if 'call' not in call: continue\n    n, how = call['call'], call['kwargs']['how']\n    if how == 'next': err(b'ter2 is bad')\n    if how == 'before': err(b'it is hun')\n    say(call=n, result=1)\n    if how == 'after': err(b'it is hun')\n";
    let offered = redacting(python_worker(body));
    for how in ["before", "after"] {
        offered.call(json!({"password": SECRET, "how": how})).await.unwrap();
        let (values, answer) = offered.run(json!({"password": "another", "how": "next"})).await;
        answer.unwrap();
        let told: String = values.iter().map(|value| value["text"].as_str().unwrap()).collect();
        assert!(told.ends_with(" is bad") && !told.contains("ter2"), "{how}: {told}");
    }
}

#[tokio::test]
async fn a_secret_in_two_pieces_of_a_stream_is_masked_and_what_only_looked_like_one_is_not() {
    // longer than what is gathered into one piece
    let script = "read call; printf 'a hun' >&2; sleep 0.3; printf 'ter2 b' >&2; printf 'x hunt'; sleep 0.3; printf 'ed hunter2 hunte'";
    let (values, answer) = redacting(text_shell(script)).run(kwargs()).await;
    answer.unwrap();
    let stream = |name: &str| -> String {
        let of = values.iter().filter(|value| value["stream"] == name);
        of.map(|value| value["text"].as_str().unwrap()).collect()
    };
    assert_eq!((stream("stdout").as_str(), stream("stderr").as_str()), ("x hunted *** hunte", "a *** b"));
}

#[tokio::test]
async fn the_end_of_the_standard_error_is_masked_also_where_it_was_cut() {
    for fill in [0, exec::TAIL - 4] {
        let script = format!(
            "read call; printf 'password hunter2' >&2; head -c {fill} /dev/zero | tr '\\0' x >&2; exit 3"
        );
        let fault = redacting(text_shell(&script)).call(kwargs()).await.unwrap_err();
        let trace = fault.trace.unwrap();
        assert!(trace.contains("***") && !trace.contains("ter2"), "{}", trace.get(..40).unwrap_or(&trace));
    }
}

#[tokio::test]
async fn more_secrets_than_are_looked_for_hide_everything() {
    let many: Vec<String> = (0..100).map(|n| format!("secret-{n}")).collect();
    let script =
        "read call; echo anything >&2; echo '{\"exception\": {\"message\": \"any\", \"class\": \"Any\"}}'";
    let (values, answer) = redacting(json_shell(script)).run(json!({"keys": many})).await;
    assert_eq!(values, [json!({"stream": "stderr", "text": "***"})]);
    let fault = answer.unwrap_err();
    assert_eq!((fault.message.as_str(), fault.class.as_deref()), ("***", Some("***")));
}

#[tokio::test]
async fn a_long_message_is_not_cut_within_a_secret_that_stays() {
    let script = "read call; printf '{\"exception\": {\"message\": \"'; head -c 8189 /dev/zero | tr '\\0' x; echo 'hunter2 more\"}}'";
    let fault = redacting(json_shell(script)).call(kwargs()).await.unwrap_err();
    assert!(fault.message.ends_with("x***…"), "{}", fault.message.trim_start_matches('x'));
}

#[tokio::test]
async fn positional_secrets_are_words_too() {
    let manifest = Manifest {
        args: json!({"type": "object", "x-positional": ["user", "password"]}),
        ..json_shell("read call; echo '{\"result\": \"ann: hunter2\"}'")
    };
    let mut started =
        redacting(manifest).start_raw(&Raw::encode(&["ann", SECRET]).unwrap(), &Raw::empty_map());
    assert_eq!(started.answer().await.unwrap(), json!("ann: ***"));
}
