package engine

import (
	"cmp"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Directories may be for groups that this client is not in. What it may not read it does not enter: on this machine such a
// directory is an empty one, and its absence is nobody's will. What it may not change it follows; what was changed here
// stays here, and is told.

// access is what this client may do in a domain: nil, or why not.
type access struct {
	domain      replica.Domain
	read, write error
}

// accessTo returns what this client may do in the domain that a directory of that name begins, or belongs to.
func (s *syncer) accessTo(up access, dir, name string) (access, error) {
	d, ok := s.Server.(replica.Divided)
	if !ok || dir+name != "" && !object.HasGroups(name) {
		return up, nil
	}
	domain, err := d.Domain(replica.Join(dir, name))
	if err != nil {
		return up, err
	}
	return access{domain: domain, read: d.MayRead(domain), write: d.MayWrite(domain)}, nil
}

// topAccess is that to the tree.
func (s *syncer) topAccess() access {
	a, _ := s.accessTo(access{}, "", "") // the top has no name that could make no sense
	return a
}

// guarded looks who may do what with a name. It reports false if that is all there is to do; leave says that the rules
// leave the name alone.
func (d *directory) guarded(s *step, path string, leave bool) bool {
	s.access = d.visit.access
	if !object.HasGroups(s.n.text()) || !isDirectory(s.n.client) && !isDirectory(s.n.known) && !isDirectory(s.n.server) {
		return true
	}
	var err error
	if s.access, err = d.accessTo(d.visit.access, d.dir, s.n.text()); err != nil {
		if isDirectory(s.n.client) || isDirectory(s.n.server) {
			if !leave {
				d.failed(d.visit, path, err)
			}
			return false
		}
		s.access = d.visit.access
	}
	if s.access.read != nil {
		return !leave && d.closed(s, path)
	}
	return true
}

func isDirectory(e replica.Entry) bool { return e.Kind == object.Directory }

// closed is guarded for a directory that this client may not read.
func (d *directory) closed(s *step, path string) bool {
	n := &s.n
	switch {
	case n.server.Kind == object.Absent && n.known.Kind == object.Absent:
		d.shut(path, s.access.read)
		return false
	case !isDirectory(n.server):
		return true
	case n.client.Kind == object.Absent: // made again, if it was there
		n.known, n.server.Mode = replica.Entry{Name: n.text()}, 0
	case !isDirectory(n.client):
		d.shut(path, s.access.read)
		return false
	default: // its mode here is only that of an empty one, or was right when it could be read
		n.server.Mode, n.known.Mode = n.client.Mode, n.client.Mode
		d.strayed(d.visit, path, s.access.read)
	}
	return true
}

// strayed remembers a directory that this client may not read and that has something in it all the same.
func (p *pass) strayed(v *visit, path string, why error) {
	if list, err := p.Client.List(p.ctx, path); err != nil || len(list) == 0 {
		return // its rights may keep even its owner from looking
	}
	p.stays(v, path, why)
}

// shut remembers what can't be brought in sync because it is for others.
func (d *directory) shut(path string, why error) {
	d.isWork = true
	d.stays(d.visit, path, why)
}

func (p *pass) stays(v *visit, path string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v.differs = true
	v.issues = append(v.issues, ancestor.Issue{Path: path, Kind: ancestor.Unsynced, Since: time.Now(),
		Reason: why.Error() + "; what is here stays on this machine"})
}

// readOnly returns what is left of a mode where nothing may go out. Force brings in only what the rules would not have let
// out: a mode that lets the newer version win must not cost the one that can't go.
func readOnly(m plan.Mode) plan.Mode {
	if m.Out.Create != plan.Off && m.In.Delete == plan.Force {
		m.In.Delete = plan.On
	}
	if m.Out.Update != plan.Off && m.In.Update == plan.Force {
		m.In.Update = plan.On
	}
	m.Out = plan.Rights{}
	return m
}

// lockedBy is why nothing of a name may go out; nil if it may.
func (d *directory) lockedBy(s step) error { return cmp.Or(d.visit.access.write, s.access.write) }

// mayEnter reports whether a directory below v can be read; what lies in one that can't is told, and so is a name that makes
// no sense.
func (p *pass) mayEnter(v *visit, name string) (access, bool) {
	path := replica.Join(v.dir, name)
	a, err := p.accessTo(v.access, v.dir, name)
	switch {
	case err != nil:
		p.failed(v, path, err)
	case a.read != nil:
		p.strayed(v, path, a.read)
	}
	return a, err == nil && a.read == nil
}

// sameSeat reports whether something can be moved on a side, rather than made anew for others.
func (s *syncer) sameSeat(side Side, from, to string, kind object.Kind) bool {
	d, ok := s.Server.(replica.Divided)
	if !ok {
		return true
	}
	was, err := seatOf(d, from, kind)
	if err != nil {
		return false
	}
	is, err := seatOf(d, to, kind)
	if err != nil || was != is || d.MayRead(is.Domain) != nil {
		return false
	}
	return side == Local || d.MayWrite(is.In) == nil && d.MayWrite(is.Domain) == nil
}

func seatOf(d replica.Divided, path string, kind object.Kind) (replica.Seat, error) {
	dir, name := replica.Split(path)
	return replica.SeatOf(d, dir, name, kind)
}
