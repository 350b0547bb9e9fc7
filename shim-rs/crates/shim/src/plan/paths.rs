// SPDX-License-Identifier: Apache-2.0
//! `linux.maskedPaths` and `linux.readonlyPaths`, made absolute.

use std::path::Path;

use super::refusal::Refusal;
use super::spec;

/// Most paths in one list.
const MAX_PATHS: usize = 1024;

/// The paths of the list called `field`.
pub(super) fn compile(field: &str, paths: Option<&Vec<String>>) -> Result<Vec<String>, Refusal> {
    let paths = paths.map_or(&[][..], Vec::as_slice);
    if paths.len() > MAX_PATHS {
        return Err(Refusal::invalid(field, format!("more than {MAX_PATHS}")));
    }
    let absolute = |path: &String| match path.starts_with('/') {
        true => spec::inside(field, Path::new(path)),
        false => Err(Refusal::invalid(field, format!("{path:?} is not absolute"))),
    };
    paths.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_path_is_refused() {
        assert_eq!(compile("f", Some(&vec!["/proc/kcore".into()])).unwrap(), ["/proc/kcore"]);
        assert!(compile("f", Some(&vec!["proc/kcore".into()])).is_err());
        assert!(compile("f", Some(&vec![String::new()])).is_err());
    }
}
