//! A view under a mount point: a thin layer between the kernel, through `fuser`, and [`View`](crate::View).
//!
//! | to know | look in |
//! |---|---|
//! | how a mount starts and ends | `session` |
//! | how each request is answered | `adapter`, `errno` |
//! | why a slow or failing request does not affect others | `answer` |
//! | what is logged | `log_throttle` |
//! | where a view can be mounted, and what is mounted | `mount_point`, `mount_table` |
//! | how a mount is removed | `unmount` |

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

pub use self::mount_point::{MountPoint, MountPointError, resolved};
pub use self::mount_table::{MountEntry, mounted_at};
pub use self::options::MountOptions;
pub use self::session::{MountError, Mounted};
pub use self::unmount::{UnmountError, Unmounted, unmount};
