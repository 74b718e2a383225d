//! Callers that hang up.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// Polls `future` until it has waited `times` times, and drops it there, with what it had begun still under way.
/// `Some`: it ended before.
pub async fn dropped_after<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut waited) = (pin!(future), 0);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            waited += 1;
            if waited < times { Poll::Pending } else { Poll::Ready(None) }
        }
    })
    .await
}

/// Drops `future` as soon as `enough` is true while it waits; that may come of what it has set going elsewhere.
/// `Some`: it ended before.
pub async fn dropped_once<T>(enough: impl Fn() -> bool, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if enough() => Poll::Ready(None),
        Poll::Pending => {
            // Nothing wakes us when the answer of `enough` changes.
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_future_is_dropped_at_each_of_its_waits() {
        let steps = AtomicUsize::new(0);
        let three_waits = || async {
            for _ in 0..3 {
                steps.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        };
        for times in 1..=3 {
            assert_eq!(dropped_after(times, three_waits()).await, None);
            assert_eq!(steps.swap(0, Ordering::SeqCst), times);
        }
        assert_eq!(dropped_after(4, three_waits()).await, Some(()));
    }
}
