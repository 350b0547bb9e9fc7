// SPDX-License-Identifier: Apache-2.0
//! The shim's own memory, which every container costs: what glibc's allocator keeps back of it.
#![allow(unsafe_code, reason = "the allocator's settings are C functions")]

/// Has all threads allocate from one arena. Of itself glibc gives each of them one of its own, and keeps what was freed in
/// all of them; the threads of a shim live a moment each and never allocate much at a time. For the program's start.
pub(crate) fn share_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers, and no other thread is there yet that could allocate meanwhile.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    #[cfg(target_env = "gnu")]
    if set == 0 {
        tracing::debug!("threads allocate from arenas of their own");
    }
}

/// Gives back to the kernel what was freed. For when a container has been started: most of what that took is not needed
/// again. A millisecond at most.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
