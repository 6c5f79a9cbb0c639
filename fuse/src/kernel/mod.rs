//! A view under a mount point: a thin layer between the kernel, through `fuser`, and [`View`](crate::View).
//!
//! | to know | look in |
//! |---|---|
//! | how a mount begins and ends | `session` |
//! | what is answered to which request | `adapter`, `errno` |
//! | how a request is kept from holding up others, or from ending the mount | `answer` |
//! | where can be mounted, and what is | `mount_point`, `mount_table` |
//! | how a mount is taken away | `unmount` |

mod adapter;
mod answer;
mod errno;
mod handles;
mod log_throttle;
mod mount_point;
mod mount_table;
mod options;
mod session;
mod unmount;

pub use self::mount_point::{MountPoint, MountPointError};
pub use self::mount_table::{MountEntry, mounted_at};
pub use self::options::MountOptions;
pub use self::session::{MountError, Mounted};
pub use self::unmount::{UnmountError, Unmounted, unmount};
