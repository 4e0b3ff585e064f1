//! The kernel's keyring of a session: whoever has it reads the keys in it, whatever user he has become, and a program inherits that of
//! whoever started it.

use std::io;

/// Gives this process, and what it becomes, a session keyring of its own without a key in it. It is the agent's own user who owns it, so no
/// other program of the user that this process becomes finds it.
///
/// # Errors
/// It has to go on with the keyring that it has, and could read it.
pub(super) fn leave_session() -> io::Result<()> {
    let joined = keyctl(Operation::JoinSessionKeyring);
    // a user has room for few keys, and root in a container is one
    let joined = joined.map_err(|error| match error.raw_os_error() {
        Some(libc::EDQUOT) => io::Error::from_raw_os_error(libc::EAGAIN),
        _ => error,
    });
    joined.or_else(|error| match keyctl(Operation::GetSessionKeyring) {
        // a kernel without keys, or a container that keeps all of them away: it does so from the program, too
        Err(other) if is_kept_away(&error) && is_kept_away(&other) => Ok(()),
        Ok(()) | Err(_) => Err(error),
    })
}

fn is_kept_away(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES))
}

#[derive(Clone, Copy)]
enum Operation {
    /// A new one without a name.
    JoinSessionKeyring,
    /// Which it is, without making one.
    GetSessionKeyring,
}

#[expect(unsafe_code, reason = "no safe wrapper joins a keyring")]
fn keyctl(operation: Operation) -> io::Result<()> {
    let (operation, argument) = match operation {
        // of null for a name
        Operation::JoinSessionKeyring => (libc::KEYCTL_JOIN_SESSION_KEYRING, 0),
        Operation::GetSessionKeyring => (libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING),
    };
    let (operation, argument) = (libc::c_ulong::from(operation), libc::c_long::from(argument));
    let create: libc::c_long = 0;
    // SAFETY: the first operation takes the address of a name, and null is one for none; the second takes two numbers. Neither reads or
    // writes memory of this process.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, operation, argument, create) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
