package localdir

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"ensync/engine/ids"
	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// readOptional fills in owner, group and extended attributes of what looks like st, as far as they are asked for: of that
// name in the open directory fd, or, without a name, of what is open as fd.
func (d *Dir) readOptional(fd int, name string, st stat, e *object.Entry) {
	if d.owners && e.Kind != object.Special {
		e.User, e.Group = ids.Users.Owner(st.uid), ids.Groups.Owner(st.gid)
	}
	if d.xattrs && (e.Kind == object.File || e.Kind == object.Directory) {
		e.Xattrs = readXattrs(fd, name)
	}
}

// readXattrs returns what there is; "" if that can't be found out.
func readXattrs(fd int, name string) object.Xattrs {
	set, err := xattrsOf(fd, name)
	if err != nil && !unsupported(err) {
		return ""
	}
	return object.MakeXattrs(set)
}

// sameOptional returns ErrChanged if owner, group or extended attributes are not as listed.
func (h *handle) sameOptional(name string, e *object.Entry, st stat) error {
	same := (e.User == "" || ids.Users.Number(e.User) == st.uid) && (e.Group == "" || ids.Groups.Number(e.Group) == st.gid)
	if same && e.Xattrs != "" {
		same = readXattrs(h.fd(), name) == e.Xattrs
	}
	if !same {
		return replica.ErrChanged
	}
	return nil
}

// inherit returns what shall be there, with the owner and group of what it takes the place of if it does not say others: a
// new version of a file is still that user's file.
func (h *handle) inherit(c replica.Change) object.Entry {
	e := *c.New
	if c.Old == nil || c.Old.Kind != e.Kind {
		return e
	}
	st, err := statAt(h.fd(), c.Old.Name)
	if err != nil || st.kind() != e.Kind {
		return e // the last look will see it
	}
	return e.WithUnknownFrom(object.Entry{User: ids.Users.Owner(st.uid), Group: ids.Groups.Owner(st.gid)})
}

// keepAttributes gives the new version of a file, open as fd, the access control list of the old one, and its extended
// attributes unless the change says others.
func (h *handle) keepAttributes(fd int, c replica.Change) error {
	if c.Old == nil || c.Old.Kind != object.File {
		return nil
	}
	copyACL(h.fd(), c.Old.Name, fd) // which the mode then masks, as chmod(2) does
	if c.New.Xattrs != "" {
		return nil
	}
	set, err := xattrsOf(h.fd(), c.Old.Name)
	if err != nil || len(set) == 0 {
		return nil // there are none that we could keep
	}
	return h.setXattrs(fd, c.New.Name, set)
}

// setOptional gives an open file or directory the owner, group and extended attributes that e knows. What can't be had
// here is left out, and said. A change of the owner clears setuid and setgid: the mode comes after.
func (h *handle) setOptional(fd int, e object.Entry, was stat) error {
	if err := h.setOwner(e, was, func(uid, gid int) error { return giveAway(fd, uid, gid) }); err != nil {
		return err
	}
	if e.Xattrs == "" || e.Kind == object.Symlink {
		return nil
	}
	want, err := e.Xattrs.Parse()
	if err != nil {
		return err
	}
	return h.setXattrs(fd, e.Name, want)
}

// setOwner changes user and group if they are others, each alone if both together can't be.
func (h *handle) setOwner(e object.Entry, was stat, chown func(uid, gid int) error) error {
	const leave = -1
	uid, gid := leave, leave
	if n := ids.Users.Number(e.User); e.User != "" && n != was.uid {
		uid = int(n)
	}
	if n := ids.Groups.Number(e.Group); e.Group != "" && n != was.gid {
		gid = int(n)
	}
	if uid == leave && gid == leave {
		return nil
	}
	err := chown(uid, gid)
	if cannotHave(err) && uid != leave && gid != leave {
		user, group := chown(uid, leave), chown(leave, gid)
		if err = user; err == nil {
			err = group
		}
	}
	if cannotHave(err) {
		if h.d.owners && e.Kind == object.File && e.Mode&0o6000 != 0 && os.Geteuid() == 0 {
			return fmt.Errorf("it is set-uid or set-gid, and its owner can't be set, so it would be root's: %w", err)
		}
		if h.d.owners {
			h.d.saidOwners.Do(func() { h.d.report(fmt.Sprintf(ownersStay, h.path(e.Name), err)) })
		}
		return nil
	}
	return err
}

const ownersStay = "owners can't be set here (%q: %v); files stay with whom they are, and the store keeps the owners it has"

// setXattrs makes the extended attributes those that are wanted.
func (h *handle) setXattrs(fd int, name string, want map[string][]byte) error {
	has, err := xattrsOf(fd, "")
	if err != nil && !unsupported(err) {
		return err
	}
	var failed error
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if _, stays := want[name]; !stays {
			failed = errors.Join(failed, writable(fd, func() error { return removeXattr(fd, name) }))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, there := has[name]; !there || string(value) != string(want[name]) {
			failed = errors.Join(failed, writable(fd, func() error { return setXattr(fd, name, want[name]) }))
		}
	}
	if cannotHave(failed) {
		if !h.d.xattrs {
			return nil
		}
		h.d.report(fmt.Sprintf("%q does not get all its extended attributes here (%v); the store keeps them", h.path(name), failed))
		return nil
	}
	return failed
}

// writable runs f, once more with the right to write if it lacks that: attributes of a read-only file are its owner's all
// the same.
func writable(fd int, f func() error) error {
	err := f()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	st, failed := statFile(fd)
	if failed != nil || chmodPath(fd, st.mode&0o7777|0o200) != nil {
		return err
	}
	return errors.Join(f(), chmodPath(fd, st.mode&0o7777))
}

// cannotHave reports whether an error says that this user or this file system can't have an owner or extended attributes,
// rather than that something is broken.
func cannotHave(err error) bool {
	for _, no := range []error{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EDQUOT, unix.E2BIG, unix.ERANGE, unix.EOVERFLOW} {
		if errors.Is(err, no) {
			return true
		}
	}
	return unsupported(err)
}
