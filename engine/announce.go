package engine

import (
	"context"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/store/object"
)

// announce tells the ancestor what the client is about to get from the server's committed state. The world is held.
func (p *pass) announce(dir string, entries ...replica.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	agreed := make([]ancestor.Agreed, len(entries))
	for i, e := range entries {
		e.Content.Data = nil
		agreed[i] = ancestor.Agreed{Dir: dir, Entry: e}
	}
	tag, err := p.Ancestor.Announce(p.ctx, agreed)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending.in.Announced = append(p.pending.in.Announced, tag)
	return nil
}

// recoverAnnounced records what an interrupted sync gave to the client: what is there as it was announced is what the
// server had.
func (s *syncer) recoverAnnounced(ctx context.Context) error {
	entries, tags, err := s.Ancestor.Announced(ctx)
	if err != nil || len(tags) == 0 {
		return err
	}
	byDir := map[string][]replica.Entry{}
	var dirs []string
	for _, a := range entries {
		if byDir[a.Dir] == nil {
			dirs = append(dirs, a.Dir)
		}
		byDir[a.Dir] = append(byDir[a.Dir], a.Entry)
	}
	u := ancestor.Update{Announced: tags}
	for _, dir := range dirs {
		u.Entries = append(u.Entries, s.came(ctx, dir, byDir[dir])...)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.Client.Sync(ctx); err != nil { // DURABLE: what is about to be called agreed
		return err
	}
	return s.Ancestor.Commit(ctx, u)
}

// came returns which of the announced entries of a directory the client has. What can't be read is taken for what its
// user made, which deletes nothing.
func (s *syncer) came(ctx context.Context, dir string, announced []replica.Entry) []ancestor.Agreed {
	list, err := s.Client.List(ctx, dir)
	if err != nil {
		return nil
	}
	now := make(map[string]replica.Entry, len(list))
	for _, e := range list {
		now[e.Name] = e
	}
	var came []ancestor.Agreed
	limits := s.limits(dir)
	for _, want := range announced {
		is := optional{}.mask(now[want.Name])
		want = limits.Shown(optional{}.mask(want), is) // of the rest it is told at the next sync again
		if is.Kind == object.File && want.Kind == object.File && is.Content.Size == want.Content.Size && !is.Content.Known {
			if is, err = s.Client.Hash(ctx, dir, is); err != nil {
				continue
			}
		}
		if limits.NoModes {
			is.Mode = want.Mode
		}
		if is.Kind == want.Kind && (is.Kind == object.Absent || is.Equal(want)) {
			came = append(came, ancestor.Agreed{Dir: dir, Entry: want})
		}
	}
	return came
}
