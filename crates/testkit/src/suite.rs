//! From a list of cases to tests.

/// One `#[tokio::test]` per case of a suite. `factory`: an `async fn() -> (subject, guard)`; the guard lives as long
/// as the test.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_tests {
    ([$suite:ident $factory:path] $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (subject, _guard) = $factory().await;
                $crate::$suite::$case(subject).await;
            }
        )+
    };
}

/// All cases one after the other, against the same subject.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_run {
    ([$subject:expr] $($case:ident)+) => {
        $( Box::pin($case(::std::sync::Arc::clone(&$subject))).await; )+
    };
}
