package worktree

import (
	"maps"

	"ensync/engine/ids"
	"ensync/store/object"
)

// entry returns what the reconciler sees of an inode, with owner, group and extended attributes if it asks for them.
func (t *Tree) entry(n *inode, name string) object.Entry {
	e := n.entry(name)
	if t.opt.Owner && e.Kind != object.Special {
		e.User, e.Group = ids.Users.Owner(n.uid), ids.Groups.Owner(n.gid)
	}
	if t.opt.Xattrs && (e.Kind == object.File || e.Kind == object.Directory) {
		e.Xattrs = synced(n.xattrs)
	}
	return e
}

// synced returns those of the extended attributes that are synchronised.
func synced(all map[string][]byte) object.Xattrs {
	for name := range all {
		if !object.ValidXattr(name) {
			some := maps.Clone(all)
			maps.DeleteFunc(some, func(name string, _ []byte) bool { return !object.ValidXattr(name) })
			return object.MakeXattrs(some)
		}
	}
	return object.MakeXattrs(all)
}

// setOptional gives an inode what e knows of owner, group and extended attributes, and returns which fields changed. Owners
// are only given by root; extended attributes that are not synchronised stay.
func (t *Tree) setOptional(s *state, e *object.Entry) (fields, error) {
	var mask fields
	if t.opt.Chown && e.User != "" {
		s.uid, mask = ids.Users.Number(e.User), fMode
	}
	if t.opt.Chown && e.Group != "" {
		s.gid, mask = ids.Groups.Number(e.Group), fMode
	}
	if e.Xattrs == "" || e.Xattrs == synced(s.xattrs) {
		return mask, nil
	}
	all, err := e.Xattrs.Parse()
	if err != nil {
		return 0, err
	}
	for name, value := range s.xattrs {
		if !object.ValidXattr(name) {
			all[name] = value
		}
	}
	s.xattrs = all
	return mask | fXattrs, nil
}

// isAgreed reports whether an entry, as shown, is what client and server agree on, or what this side has instead.
func isAgreed(shown, agreed object.Entry) bool {
	agreed = agreed.OnClient()
	if ids.Users.Same(shown.User, agreed.User) {
		agreed.User = shown.User
	}
	if ids.Groups.Same(shown.Group, agreed.Group) {
		agreed.Group = shown.Group
	}
	return shown.Agrees(agreed)
}
