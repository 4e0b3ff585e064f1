//! Which request a thread serves at the moment, so that what is logged meanwhile names it. A span of each request would say the same, and
//! cost more than many requests do by themselves.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use redpoll_common::ids::RequestId;

thread_local! {
    static NOW: Cell<Option<Arc<Serving>>> = const { Cell::new(None) };
}

/// A request, as its peer named it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    request: RequestId,
    method: String,
}

/// Which request this thread serves at the moment: what a line of the log that is written now has to name, with the names of the fields. The
/// peer chose the texts. Nothing in tasks and threads that whoever serves a request has started.
pub fn now() -> Option<Vec<(&'static str, String)>> {
    let serving = NOW.take();
    NOW.set(serving.clone());
    let serving = serving?;
    Some(vec![("request", serving.request.as_str().to_owned()), ("method", serving.method.clone())])
}

/// Puts back what was served before, however the work ends.
struct Before(Option<Arc<Serving>>);

impl Drop for Before {
    fn drop(&mut self) {
        NOW.set(self.0.take());
    }
}

impl Serving {
    pub(crate) fn new(request: RequestId, method: String) -> Arc<Self> {
        Arc::new(Self { request, method })
    }

    /// Does some work for it.
    pub(crate) fn scope<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
        let _before = Before(NOW.replace(Some(self.clone())));
        work()
    }

    /// The same with each step of a future.
    pub(crate) async fn steps<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.scope(|| work.as_mut().poll(cx))).await
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn serving(id: &str) -> Arc<Serving> {
        Serving::new(RequestId::parse(id).unwrap(), "sys.echo".to_owned())
    }

    fn served() -> Option<String> {
        now().map(|fields| fields.into_iter().map(|(name, text)| format!("{name}={text} ")).collect())
    }

    #[test]
    fn the_innermost_request_is_the_one_and_a_panic_puts_the_outer_one_back() {
        assert_eq!(served(), None);
        serving("a").scope(|| {
            assert_eq!(served().as_deref(), Some("request=a method=sys.echo "));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                serving("b").scope(|| {
                    assert_eq!(served().as_deref(), Some("request=b method=sys.echo "));
                    panic!("on purpose");
                });
            }));
            assert!(panicked.is_err());
            assert_eq!(served().as_deref(), Some("request=a method=sys.echo "));
        });
        assert_eq!(served(), None);
    }

    #[tokio::test]
    async fn futures_that_take_turns_each_have_their_own() {
        let one = |id: &'static str| {
            serving(id).steps(async move {
                for _ in 0..3 {
                    assert_eq!(served(), Some(format!("request={id} method=sys.echo ")));
                    tokio::task::yield_now().await;
                }
            })
        };
        futures_util::future::join(one("a"), one("b")).await;
        assert_eq!(served(), None);
    }
}
