//! What goes into a program and what comes out of it, with real processes.

mod exec_support;

use std::time::Duration;

use bytes::Bytes;
use exec_support::{collect, counting_writer, eventually, lives, never, next_text, shell, spec, stalled};
use redpoll_exec::exec::{CHUNK, Chunk, DRAIN, EndedBy, ExecError, StopReason, StreamName, TAIL, run};
use tokio::sync::mpsc;

#[tokio::test]
async fn all_256_bytes_come_through_as_they_were_written() {
    let every: Vec<u8> = (0..=255).cycle().take(256 * 300).collect();
    let mut cat = spec(&["cat"]);
    cat.stdin = Some(Bytes::from(every.clone()));
    let got = collect(cat).await.unwrap();
    assert_eq!(got.stdout, every);
    assert_eq!(got.exit.stdout_bytes, 256 * 300);
    assert_eq!((got.exit.code, got.exit.signal, got.exit.dropped), (Some(0), None, 0));
    assert_eq!(got.exit.ended_by, EndedBy::Itself);
    assert!(!got.exit.pipes_held);
    assert!(got.largest <= CHUNK);
}

#[tokio::test]
async fn input_of_every_length_comes_whole_and_ends() {
    // around what a pipe holds, and what it holds where its owner has many of them
    for len in [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20] {
        let every: Vec<u8> = (0..=255).cycle().take(len).collect();
        let mut cat = spec(&["cat"]);
        cat.stdin = Some(Bytes::from(every.clone()));
        assert!(collect(cat).await.unwrap().stdout == every, "{len} bytes");
    }
}

#[tokio::test]
async fn the_end_of_both_streams_is_not_taken_for_the_programs() {
    let got = collect(shell("exec >&- 2>&-; sleep 0.3; exit 5")).await.unwrap();
    assert_eq!((got.exit.code, got.exit.ended_by), (Some(5), EndedBy::Itself));
    assert!(got.exit.duration >= Duration::from_millis(300));
}

#[tokio::test]
async fn the_two_streams_stay_apart_and_in_order() {
    let got = collect(shell("for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; exit 3"))
        .await
        .unwrap();
    let expected = |word: &str| (1..=9).map(|i| format!("{word} {i}\n")).collect::<String>();
    assert_eq!(String::from_utf8(got.stdout).unwrap(), expected("out"));
    assert_eq!(String::from_utf8(got.stderr).unwrap(), expected("err"));
    assert_eq!(got.exit.code, Some(3));
}

#[tokio::test]
async fn output_is_delivered_while_the_program_runs() {
    let (sender, mut receiver) = mpsc::channel(1);
    let (gone, stop) = tokio::sync::oneshot::channel::<()>();
    let running = run(shell("echo first; sleep 1000"), sender, async {
        stop.await.ok();
        StopReason::Cancelled
    });
    let reading = async {
        let text = next_text(&mut receiver).await;
        drop(gone);
        text
    };
    let (exit, text) = tokio::join!(running, reading);
    assert_eq!(text, "first\n");
    assert_eq!(exit.unwrap().stdout_bytes, 6);
}

#[tokio::test]
async fn single_bytes_are_joined_into_larger_chunks() {
    let got = collect(shell("i=0; while [ $i -lt 2000 ]; do printf x; i=$((i+1)); done")).await.unwrap();
    assert_eq!(got.stdout.len(), 2000);
    assert!(got.chunks < 500, "{} chunks for 2000 bytes", got.chunks);
}

#[tokio::test]
async fn chunks_of_a_text_are_texts() {
    let text = format!("x{}", "ä€😀".repeat(30_000));
    let (sender, mut receiver) = mpsc::channel(1);
    let mut cat = shell("cat; cat >&2 <<'END'\nä\nEND");
    cat.stdin = Some(Bytes::from(text.clone()));
    let reading = async {
        let (mut all, mut count) = (String::new(), 0);
        while let Some(chunk) = receiver.recv().await {
            let Chunk::Data { stream, data } = chunk else { panic!("nothing may be thrown away") };
            let piece = std::str::from_utf8(&data).unwrap_or_else(|error| panic!("chunk {count}: {error}"));
            if stream == StreamName::Stdout {
                all.push_str(piece);
            }
            count += 1;
        }
        (all, count)
    };
    let (exit, (all, count)) = tokio::join!(run(cat, sender, never()), reading);
    assert!(all == text && count > 10, "{count} chunks");
    assert_eq!((exit.unwrap().stdout_bytes, all.len()), (text.len() as u64, text.len()));
}

#[tokio::test]
async fn half_a_character_is_delivered_when_the_rest_does_not_come() {
    let (sender, mut receiver) = mpsc::channel(1);
    let (gone, stop) = tokio::sync::oneshot::channel::<()>();
    let running = run(shell(r"printf 'name: \342\202'; sleep 1000"), sender, async {
        stop.await.ok();
        StopReason::Cancelled
    });
    let reading = async {
        assert_eq!(next_text(&mut receiver).await, "name: ", "a prompt does not wait");
        let Some(Chunk::Data { data, .. }) = receiver.recv().await else { panic!("no more came") };
        drop(gone);
        data
    };
    let (exit, rest) = tokio::join!(running, reading);
    assert_eq!((&rest[..], exit.unwrap().stdout_bytes), (&[0xe2, 0x82][..], 8));

    let got = collect(shell(r"printf 'a\303'; printf 'b\360\237\230' >&2")).await.unwrap();
    assert_eq!((&got.stdout[..], &got.stderr[..]), (&b"a\xc3"[..], &b"b\xf0\x9f\x98"[..]));
    assert_eq!((got.exit.stdout_bytes, got.exit.stderr_bytes, got.exit.dropped), (2, 4, 0));
    assert_eq!(got.exit.stderr_tail.as_bytes(), b"b\xf0\x9f\x98");

    let mut limited = shell(r"printf 'a\303\244\342\202\254'");
    limited.output_limit = 2;
    let got = collect(limited).await.unwrap();
    assert_eq!((&got.stdout[..], got.exit.dropped, got.exit.stdout_bytes), (&b"a\xc3"[..], 4, 6));
}

#[tokio::test]
async fn a_slow_taker_holds_the_program_back_and_loses_nothing() {
    const TOTAL: u64 = 10 * 1024 * 1024;
    let (sender, mut receiver) = mpsc::channel(1);
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("written");
    let script = counting_writer(160, &mark);
    let running = run(shell(&script), sender, never());
    let reading = async {
        let first = receiver.recv().await;
        // nobody takes: what the program can write fits pipe (64 KiB), channel and reader (16 KiB each)
        let ahead = stalled(&mark).await;
        assert!(ahead <= 3, "{ahead} blocks written ahead");
        let mut taken = match first {
            Some(Chunk::Data { data, .. }) => data.len() as u64,
            other => panic!("{other:?}"),
        };
        while let Some(chunk) = receiver.recv().await {
            assert!(receiver.len() <= 1);
            match chunk {
                Chunk::Data { data, .. } => taken += data.len() as u64,
                Chunk::Truncated { .. } => panic!("nothing may be thrown away"),
            }
        }
        taken
    };
    let (exit, taken) = tokio::join!(running, reading);
    assert_eq!(taken, TOTAL);
    assert_eq!(exit.unwrap().dropped, 0);
}

#[tokio::test]
async fn what_a_program_wrote_before_its_end_is_delivered_however_late_it_is_taken() {
    let (sender, mut receiver) = mpsc::channel(1);
    let running = run(shell("echo $$; exec head -c 60000 /dev/zero"), sender, never());
    let reading = async {
        let pid = next_text(&mut receiver).await.lines().next().unwrap_or_default().to_owned();
        eventually("the program ends", || !lives(&pid)).await;
        // longer than anybody else's hold on the pipe would be waited for, by a clock that jumps when nothing else is to be done
        tokio::time::pause();
        tokio::time::sleep(DRAIN + Duration::from_millis(200)).await;
        tokio::time::resume();
        let mut taken = 0;
        while let Some(Chunk::Data { data, .. }) = receiver.recv().await {
            taken += data.len();
        }
        taken
    };
    let (exit, taken) = tokio::join!(running, reading);
    let exit = exit.unwrap();
    assert!(taken >= 60000 - CHUNK, "{taken} bytes after the end");
    assert_eq!((exit.dropped, exit.pipes_held), (0, false));
}

#[tokio::test]
async fn output_over_the_limit_is_counted_and_marked_at_the_streams_end() {
    let mut noisy = shell("head -c 300000 /dev/zero; exec head -c 5 /dev/zero >&2");
    noisy.output_limit = 100_000;
    let got = collect(noisy).await.unwrap();
    assert_eq!(got.stdout.len() + got.stderr.len(), 100_000);
    assert_eq!((got.exit.stdout_bytes, got.exit.stderr_bytes), (300_000, 5));
    assert_eq!(got.exit.dropped, 200_005);
    assert_eq!(got.truncated.iter().map(|(_, dropped)| dropped).sum::<u64>(), 200_005);
    assert!(got.truncated.contains(&(StreamName::Stdout, 300_000 - got.stdout.len() as u64)));
}

#[tokio::test]
async fn the_end_of_stderr_is_kept_also_when_it_is_not_delivered() {
    let mut wordy = shell("head -c 50000 /dev/zero >&2; echo why >&2; exit 1");
    wordy.output_limit = 10;
    let got = collect(wordy).await.unwrap();
    assert_eq!(got.stderr.len(), 10);
    let tail = got.exit.stderr_tail.as_bytes();
    assert_eq!(tail.len(), TAIL);
    assert!(tail.ends_with(b"\0\0why\n"));
}

#[tokio::test]
async fn input_that_nobody_reads_does_no_harm() {
    let mut careless = shell("exit 4");
    careless.stdin = Some(Bytes::from(vec![b'x'; 4 * 1024 * 1024]));
    assert_eq!(collect(careless).await.unwrap().exit.code, Some(4));

    let mut closing = shell("exec <&-; echo closed");
    closing.stdin = Some(Bytes::from(vec![b'x'; 4 * 1024 * 1024]));
    assert_eq!(collect(closing).await.unwrap().stdout, b"closed\n");
}

#[tokio::test]
async fn without_input_a_program_reads_the_end_at_once() {
    assert_eq!(collect(spec(&["cat"])).await.unwrap().exit.code, Some(0));
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_four_inherited_variables() {
    let mut env = spec(&["env"]);
    env.env.insert("GREETING".into(), "hello\nthere".into());
    env.env.insert("LANG".into(), "xx".into());
    let directory = tempfile::tempdir().unwrap();
    env.cwd = Some(directory.path().to_owned());
    let text = String::from_utf8(collect(env).await.unwrap().stdout).unwrap();
    assert!(text.contains("GREETING=hello\nthere\n") && text.contains("LANG=xx\n"), "{text}");
    for line in text.lines().filter(|line| line.contains('=')) {
        let name = line.split('=').next().unwrap_or_default();
        assert!(["PATH", "LANG", "TZ", "HOME", "GREETING", "REDPOLL_RUN"].contains(&name), "{name} leaked");
    }

    let mut pwd = spec(&["/bin/pwd"]);
    pwd.cwd = Some(directory.path().to_owned());
    let here = String::from_utf8(collect(pwd).await.unwrap().stdout).unwrap();
    assert_eq!(here.trim(), directory.path().canonicalize().unwrap().to_str().unwrap());
}

#[tokio::test]
async fn what_cannot_start_says_why_and_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "echo hi\n").unwrap();
    let error = collect(spec(&["no-such-program-anywhere"])).await.unwrap_err();
    assert!(matches!(error, ExecError::NotFound { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        r#""no-such-program-anywhere" was not found; name it by its full path, or set PATH in env"#
    );
    let error = collect(spec(&[plain.to_str().unwrap()])).await.unwrap_err();
    assert!(matches!(error, ExecError::Denied { .. }), "{error:?}");
    std::fs::write(&plain, [0, 1, 2, 3]).unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = collect(spec(&[plain.to_str().unwrap()])).await.unwrap_err();
    assert!(matches!(error, ExecError::Format { .. }), "{error:?}");
    assert!(matches!(collect(spec(&[])).await, Err(ExecError::NoProgram)));
    assert!(matches!(collect(spec(&[""])).await, Err(ExecError::NoProgram)));
    assert!(matches!(collect(spec(&["echo", "a\0b"])).await, Err(ExecError::Nul { .. })));
    assert!(matches!(collect(spec(&["echo", &"x".repeat(1 << 24)])).await, Err(ExecError::TooLarge)));

    for cwd in [directory.path().join("missing"), plain] {
        let mut lost = spec(&["true"]);
        lost.cwd = Some(cwd);
        assert!(matches!(collect(lost).await, Err(ExecError::Directory { .. })));
    }
    for name in ["", "A=B"] {
        let mut odd = spec(&["true"]);
        odd.env.insert(name.into(), "x".into());
        assert!(matches!(collect(odd).await, Err(ExecError::Variable { .. })));
    }
}

#[tokio::test]
async fn a_taker_that_goes_away_does_not_end_the_program() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let exit = run(shell("head -c 500000 /dev/zero; exit 7"), sender, never()).await.unwrap();
    assert_eq!((exit.code, exit.stdout_bytes, exit.dropped), (Some(7), 500_000, 500_000));
}

#[tokio::test]
async fn fifty_runs_at_once_do_not_mix() {
    let mut runs = tokio::task::JoinSet::new();
    for n in 0..50_i32 {
        runs.spawn(async move {
            let got = collect(shell(&format!("echo {n}; echo e{n} >&2; exit {n}"))).await.unwrap();
            assert_eq!(got.stdout, format!("{n}\n").into_bytes());
            assert_eq!(got.stderr, format!("e{n}\n").into_bytes());
            assert_eq!(got.exit.code, Some(n));
        });
    }
    while let Some(ended) = runs.join_next().await {
        ended.unwrap();
    }
}
