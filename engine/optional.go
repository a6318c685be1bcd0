package engine

import (
	"slices"

	"ensync/engine/ids"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// optional says which of the fields that not everybody wants are synchronised for a name. Of an entry from which the
// others are masked, nobody knows them, and so nobody touches them on either side.
type optional struct{ owner, xattrs bool }

func optionalOf(st rules.State) optional {
	return optional{owner: st.SyncsOwner(), xattrs: st.SyncsXattrs()}
}

// mask leaves out of an entry what is not synchronised.
func (o optional) mask(e replica.Entry) replica.Entry {
	if !o.owner {
		e.User, e.Group = "", ""
	}
	if !o.xattrs || e.Xattrs == object.XattrsTooLarge {
		e.Xattrs = ""
	}
	return e
}

// leave leaves out of what a client is to become what it does not know of itself: that is never overwritten.
func (o optional) leave(now replica.Entry, old *replica.Entry) replica.Entry {
	if old == nil || old.Kind != now.Kind {
		return now
	}
	if old.User == "" {
		now.User = ""
	}
	if old.Group == "" {
		now.Group = ""
	}
	if o.mask(*old).Xattrs == "" {
		now.Xattrs = ""
	}
	return now
}

// inWordsOf returns a client's entry in the words of what was agreed on, and else of what the server has: an owner whom
// this machine takes for the same is the same, and what the client has in place of what it can't have is what was agreed.
func inWordsOf(client, known, server replica.Entry) replica.Entry {
	has := known.OnClient()
	client.User = owner(ids.Users, client.User, has.User, known.User, server.User)
	client.Group = owner(ids.Groups, client.Group, has.Group, known.Group, server.Group)
	if client.Xattrs != "" && client.Xattrs == has.Xattrs {
		client.Xattrs = known.Xattrs
	}
	return client
}

func owner(of *ids.Table, is, has, known, server object.Owner) object.Owner {
	switch {
	case is == "":
	case of.Same(is, has):
		return known
	case of.Same(is, known):
		return known
	case of.Same(is, server):
		return server
	}
	return is
}

// stillHeld returns in what a client still differs from what is agreed on, because it can't have it.
func stillHeld(client, known, agreed replica.Entry) *object.Held {
	if known.Held == nil {
		return nil
	}
	h := *known.Held
	if h.User != "" && (agreed.User != known.User || !ids.Users.Same(client.User, h.User)) {
		h.User = ""
	}
	if h.Group != "" && (agreed.Group != known.Group || !ids.Groups.Same(client.Group, h.Group)) {
		h.Group = ""
	}
	if agreed.Xattrs != known.Xattrs || client.Xattrs != h.Xattrs {
		h.Xattrs = ""
	}
	switch h {
	case object.Held{}:
		return nil
	case *known.Held:
		return known.Held
	}
	return &h
}

func sameHeld(a, b *object.Held) bool { return a == b || a != nil && b != nil && *a == *b }

// unchanged reports whether the client's listing of a directory says just what the ancestor does.
func (p *pass) unchanged(v *visit, client, known []replica.Entry) bool {
	noModes := p.limits(v.dir).NoModes
	some := p.Rules.SyncsOwner() || p.Rules.SyncsXattrs()
	inside := v.state
	if some {
		inside = v.state.Enter(nil, nil)
	}
	return slices.EqualFunc(client, known, func(c, a replica.Entry) bool {
		if c.Name == a.Name && a.Held == nil && c.Equal(a) {
			return true
		}
		var o optional
		if some {
			_, _, st := inside.Entry(rules.FactsOf(c))
			o = optionalOf(st)
		}
		if noModes {
			c.Mode = a.Mode
		}
		return c.Name == a.Name && o.unchanged(c, a)
	})
}

func (o optional) unchanged(client, known replica.Entry) bool {
	has := o.mask(client)
	if !sameHeld(stillHeld(has, known, known), known.Held) {
		return false
	}
	has, known = inWordsOf(has, known, replica.Entry{}), o.mask(known)
	if has.Xattrs == object.NoXattrs && known.Xattrs == "" {
		has.Xattrs = ""
	}
	return has.Equal(known)
}
