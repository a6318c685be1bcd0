package plan

import "ensync/store/object"

// outcomes are what the two sides and the ancestor shall hold.
type outcomes struct{ client, server, agreed object.Entry }

// mergeMode lets the mode go its way, and reports whether the two sides then still differ in it.
func (o *outcomes) mergeMode(c, a, s object.Entry, w way) (apart bool) {
	o.client.Mode, o.server.Mode, o.agreed.Mode = c.Mode, s.Mode, a.Mode
	switch w {
	case inward:
		o.client.Mode = s.Mode
	case outward:
		o.server.Mode = c.Mode
	}
	if o.client.Mode == o.server.Mode {
		o.agreed.Mode = o.client.Mode
		return false
	}
	return true
}

// mergeOptional merges the fields that not everybody synchronises, and reports whether the two sides then still differ in
// one of them. to says where a field may travel, by who changed it; first where one may that nobody stored yet.
func (o *outcomes) mergeOptional(c, a, s object.Entry, to func(change) way, first way) (apart bool) {
	known := a
	if a.Kind != c.Kind {
		known = object.Entry{}
	}
	user := optional[object.Owner]{c.User, known.User, s.User}.merge(to, first, &o.client.User, &o.server.User, &o.agreed.User)
	group := optional[object.Owner]{c.Group, known.Group, s.Group}.merge(to, first, &o.client.Group, &o.server.Group, &o.agreed.Group)
	xattrs := optional[object.Xattrs]{c.Xattrs, known.Xattrs, s.Xattrs}
	if c.Xattrs == object.NoXattrs && s.Xattrs == "" {
		xattrs.c = "" // having none is nothing that needs to be told
	}
	if known.Xattrs == "" && c.Xattrs != "" && s.Xattrs != "" {
		xattrs.a = object.NoXattrs // having none at first is nothing that anybody recorded
	}
	other := xattrs.merge(to, first, &o.client.Xattrs, &o.server.Xattrs, &o.agreed.Xattrs)
	if xattrs.c == "" { // or not known
		o.client.Xattrs = c.Xattrs
	}
	if c.Xattrs == object.NoXattrs && s.Xattrs == "" {
		o.agreed.Xattrs = c.Xattrs
	}
	return user || group || other
}

// optional is one field on the three sides; its zero value is not known.
type optional[T comparable] struct{ c, a, s T }

// merge sets what the three shall hold, and reports whether client and server still differ.
func (f optional[T]) merge(to func(change) way, first way, client, server, agreed *T) (apart bool) {
	var unknown T
	*client, *server, *agreed = f.c, f.s, f.a
	switch w := to(f.changed()); {
	case f.c == f.s:
		*agreed = f.c
	case f.c == unknown, f.s == unknown && first != outward:
	case f.s == unknown, w == outward:
		*server, *agreed = f.c, f.c
	case w == inward:
		*client, *agreed = f.s, f.s
	default:
		return true
	}
	return false
}

// changed says who changed the field, if both sides know it.
func (f optional[T]) changed() change {
	switch {
	case f.c == f.s:
		return none
	case f.a == f.s:
		return onClient
	case f.a == f.c:
		return onServer
	}
	return onBoth
}
