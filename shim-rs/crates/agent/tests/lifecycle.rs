// SPDX-License-Identifier: Apache-2.0
//! A container's way through the agent: create, start, streams, exec, signals, end.
#![allow(missing_docs)]

mod host;

use boxlite_protocol::ttrpc::Code;
use host::plans::{plan, process};
use host::{Guest, container, is_root, patience, read_all, read_until, refusal, send};

macro_rules! root_test {
    ($name:ident, $guest:ident, $body:block) => {
        #[tokio::test]
        async fn $name() {
            if !is_root() {
                return;
            }
            let $guest = Guest::start().await;
            $body
            assert_eq!($guest.end().await, Some(0));
        }
    };
}

root_test!(exit_statuses_are_the_programs, guest, {
    assert_eq!(guest.run(plan(&["true"])).await.0, 0);
    assert_eq!(guest.run(plan(&["false"])).await.0, 1);
    assert_eq!(guest.run(plan(&["sh", "-c", "exit 42"])).await.0, 42);
    assert_eq!(guest.run(plan(&["sh", "-c", "kill -9 $$; sleep 1"])).await.0, 0);
});

root_test!(output_and_error_are_told_apart, guest, {
    let (status, output, error) = guest.run(plan(&["sh", "-c", "echo out; echo err >&2"])).await;
    assert_eq!((status, output.as_str(), error.as_str()), (0, "out\n", "err\n"));
});
