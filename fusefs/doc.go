// Package fusefs turns the kernel's FUSE requests into calls on a working tree. It knows the kernel, not the store.
//
// A node id is an inode number and no path is ever built, so a rename moves nothing here and an unlinked file lives on
// until the kernel forgets it. Nothing below the mount changes but through the mount or with a notice, so the kernel
// keeps names, attributes, listings and pages until it is told otherwise: a request that does not come is the speed.
package fusefs
