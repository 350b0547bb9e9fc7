// SPDX-License-Identifier: Apache-2.0
//! What QEMU and the guest said as a boot failed: the line that tells most, and all of it. Pure; it may be hostile.

use boxlite_linux::text::{one_line, printable};

/// Characters of a message that are others' words.
pub(super) const QUOTED: usize = 200;
/// Characters of all that was said.
pub(super) const WHOLE: usize = 8192;

/// Their words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// What QEMU complained about, from the first line.
    pub(super) qemu: String,
    /// The end of the guest's console.
    pub(super) console: String,
}

impl Said {
    /// All of it, bounded: QEMU's beginning, which is the cause, and the console's end.
    pub(super) fn whole(&self) -> Option<String> {
        let text = printable(format!("{}\n{}", self.qemu, self.console).as_bytes());
        let text: String = text.trim().chars().take(WHOLE).collect();
        (!text.is_empty()).then_some(text)
    }

    /// The line that says most about an end: the agent's, the kernel's last, QEMU's; else the last of all.
    pub(super) fn telling(&self) -> Option<String> {
        let (console, qemu) = (&self.console, &self.qemu);
        let found = line_with(console, "boxlite-agent:")
            .or_else(|| line_with(console, "panic"))
            .or_else(|| internal_error(qemu))
            .or_else(|| line_with(qemu, "qemu").map(|line| complaint(&line).to_owned()))
            .or_else(|| last(qemu))
            .or_else(|| last(console))?;
        Some(one_line(found.trim(), QUOTED))
    }
}

fn line_with(text: &str, word: &str) -> Option<String> {
    text.lines().find(|line| line.contains(word)).map(str::to_owned)
}

fn last(text: &str) -> Option<String> {
    text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// KVM gave up, and QEMU prints every register: the first two lines say of what.
fn internal_error(qemu: &str) -> Option<String> {
    let mut lines = qemu.lines().skip_while(|line| !line.contains("KVM internal error"));
    let first = lines.next()?;
    let reason = lines.next().filter(|line| !line.trim().is_empty() && !line.contains('='));
    Some(reason.map_or_else(|| first.to_owned(), |reason| format!("{first} ({reason})")))
}

/// QEMU's line without what it begins with: the program, the place in its source, the word "error".
fn complaint(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some((head, tail)) = rest.split_once(": ") {
        let place = head.ends_with(|last: char| last.is_ascii_digit()) && head.contains(".c:");
        if !(head.contains("qemu") || head == "error" || place) {
            break;
        }
        rest = tail.trim_start();
    }
    rest
}
