package worktree

import "syscall"

const errNoXattr = syscall.ENODATA
