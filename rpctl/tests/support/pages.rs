//! The script's pages of items.

use std::future::pending;
use std::ops::Range;

use redpoll_common::api::items::{ItemPage, Missing, ReadArguments};
use redpoll_common::job::{Item, ItemKind};
use redpoll_common::wire::{Fault, FaultCode};

use super::jobs::output;

/// Seven pieces, three a page, of a run that has not ended. Of attempt 9 a page and more is missing. Of job eee… there is no second page, of
/// fff… none comes, those of ccc… fill a pipe each, and of ddd… there is always one more.
pub(super) async fn read(asked: &ReadArguments) -> Result<ItemPage, Fault> {
    let kind = asked.job.as_bytes()[0];
    match kind {
        b'e' if asked.since.is_some() => return Err(Fault::new(FaultCode::Internal, "as the script says")),
        b'f' if asked.since.is_some() => pending::<()>().await,
        _ => {}
    }
    let first = asked.recent.map_or_else(|| asked.since.unwrap_or(0), |recent| 7_u64.saturating_sub(recent));
    let numbers: Range<u64> = first..(first + 3).min(7);
    if asked.attempt == Some(9) && first == 3 {
        let missing = vec![Missing { from: 3, until: 6 }];
        return Ok(ItemPage {
            agent: "web-1".into(),
            attempt: 9,
            items: Vec::new(),
            missing,
            next: 6,
            more: true,
            stored: None,
            end: None,
        });
    }
    let next = numbers.end.max(first);
    let whole_pipe = |n| output(ItemKind::Stdout, n, &"x".repeat(100_000));
    Ok(ItemPage {
        agent: "web-1".into(),
        attempt: asked.attempt.unwrap_or(3),
        items: numbers.map(|n| if kind == b'c' { whole_pipe(n) } else { piece(n) }).collect(),
        missing: Vec::new(),
        next,
        more: true,
        stored: (kind == b'd').then_some(next + 1),
        end: None,
    })
}

/// Half a line.
pub(super) fn piece(n: u64) -> Item {
    let text = if n.is_multiple_of(2) { format!("line {}", n / 2) } else { " whole\n".to_owned() };
    output(ItemKind::Stdout, n, &text)
}
