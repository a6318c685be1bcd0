// Package fusefs turns the kernel's FUSE requests into calls on a working tree. It knows the kernel, not the store.
package fusefs
