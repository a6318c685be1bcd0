package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/ancestor"
	"ensync/engine/config"
	"ensync/engine/service"
	"ensync/engine/session"
	"ensync/store"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, follow bool
	cmd := &cobra.Command{
		Use:   "status [CONFIG]",
		Short: "Show what is out of sync, and how the last sync went",
		Long: `Show when the last sync was, whether the tree is mounted, and each entry that failed
or stays out of sync, with the reason. The exit code is 3 if there are any, or if the
store is refused.

What is in sync, but has another name on this machine since its file system can't hold
it beside the others, is listed as kept aside. It does not change the exit code.

Two machines that are at rest and are shown the same store have the same newest commit,
with the same fingerprint: compare it by telephone if you do not trust who keeps the store.

Only for a tree that was mounted and is not now, the passphrase is needed: what a mount
keeps on this machine is encrypted.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			cfg, err := a.load(path)
			if err != nil {
				return err
			}
			if follow {
				return a.followStatus(cmd.Context(), cfg, asJSON)
			}
			st, err := a.status(cmd.Context(), cfg)
			if err == nil {
				err = a.showStatus(cfg, st, asJSON)
			}
			return interrupted(cmd.Context(), err)
		},
	}
	a.keyOption(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON objects")
	cmd.Flags().BoolVar(&follow, "watch", false, "keep running, and show it again whenever it changes")
	return cmd
}

// status asks the mount, or reads what the last sync recorded.
func (a *app) status(ctx context.Context, cfg *config.Config) (service.Status, error) {
	client, err := service.Dial(ctx, cfg.Dir)
	if err == nil {
		return client.Status(ctx)
	}
	if !errors.Is(err, service.ErrNotRunning) {
		return service.Status{}, err
	}
	local, err := session.LocalOf(cfg, false)
	if err != nil {
		return service.Status{}, err
	}
	var s session.Standing
	if local.Mount {
		if s, err = a.standingOfMount(ctx, cfg); err != nil {
			return service.Status{}, err
		}
	}
	if local.Directory {
		var d session.Standing
		d, err = session.DirectoryStanding(ctx, cfg)
		s.Issues = append(s.Issues, d.Issues...)
		if d.LastSync.After(s.LastSync) {
			s.LastSync = d.LastSync
		}
	}
	return service.Status{LastSync: s.LastSync, Issues: s.Issues}, err
}

func (a *app) standingOfMount(ctx context.Context, cfg *config.Config) (s session.Standing, err error) {
	opt, err := a.sessionOptions()
	if err != nil {
		return s, err
	}
	opt.Mount = true // the store may be out of reach
	st, err := a.openStore(ctx, cfg.Dir, opt)
	if err != nil {
		return s, err
	}
	m, err := st.OpenMounted(ctx, func(error) {})
	if err == nil {
		s, err = m.Standing(ctx)
		err = errors.Join(err, m.Close())
	}
	return s, errors.Join(err, st.Close())
}

// statusPause is how often status --watch looks.
const statusPause = 2 * time.Second

// followStatus shows the status until ctx ends.
func (a *app) followStatus(ctx context.Context, cfg *config.Config, asJSON bool) error {
	var shown *service.Status
	for {
		st, err := a.status(ctx, cfg)
		if err != nil {
			return interrupted(ctx, err)
		}
		if shown == nil || !isSameStatus(*shown, st) {
			if err := a.showStatus(cfg, st, asJSON); err != nil && err != errOutOfSync {
				return err
			}
			shown = &st
		}
		if err := pause(ctx, statusPause); err != nil {
			return interrupted(ctx, err)
		}
	}
}

// isSameStatus compares what is shown, but not when content was counted.
func isSameStatus(x, y service.Status) bool {
	if x.Content != nil && y.Content != nil {
		as := *y.Content
		as.AsOf = x.Content.AsOf
		y.Content = &as
	}
	return reflect.DeepEqual(x, y)
}

// showStatus prints a status; the error is errOutOfSync if something is.
func (a *app) showStatus(cfg *config.Config, st service.Status, asJSON bool) error {
	show := a.printStatus
	if asJSON {
		show = a.printStatusJSON
	}
	mem, err := session.Memory(cfg)
	if err != nil {
		return err
	}
	seen := mem.Kept()
	if err := show(cfg, st, seen); err != nil {
		return err
	}
	if !seen.Refused.IsZero() {
		return errOutOfSync
	}
	for _, i := range st.Issues {
		if !i.InSync() {
			return errOutOfSync
		}
	}
	return nil
}

func (a *app) printStatus(cfg *config.Config, st service.Status, seen store.Seen) error {
	p := func(what, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-15s %s\n", what+":", fmt.Sprintf(format, args...))
	}
	p("configuration", "%s", cfg.Dir)
	p("store", "%s, tree %s", cfg.General.Server, cfg.General.ServerRoot)
	mounted := "no"
	switch {
	case st.Mounted:
		mounted = "yes" + mountedWhere(cfg)
	case st.Ending:
		mounted = "not any more; the last sync is under way"
	}
	p("mounted", "%s", mounted)
	if w := st.Watch; w != nil {
		p("watching", "since %s: %s", timeText(w.Since), watchText(w))
	}
	p("last sync", "%s", since(st.LastSync))
	if print := seen.Fingerprint(); print != "" {
		p("newest commit", "%d, fingerprint %s", seen.Seq, print)
	}
	if !seen.OthersSeen.IsZero() {
		p("from others", "newest commit made %s, seen here %s", timeText(seen.OthersMade), timeText(seen.OthersSeen))
	}
	if !seen.Refused.IsZero() {
		p("REFUSED", "since %s the store shows a state that contradicts what was seen of it; ensync sync tells which", timeText(seen.Refused))
	}
	switch {
	case st.Syncing:
		p("now", "syncing")
	case st.Paused:
		p("now", "paused")
	}
	if !st.Offline.IsZero() {
		p("out of reach", "since %s: %s", timeText(st.Offline), st.Silence)
	}
	if st.LastError != "" && st.LastError != st.Silence {
		p("last error", "%s", st.LastError)
	}
	if st.Failed != "" {
		p("failed", "%s", st.Failed)
	}
	if n := st.Pending.Names; n > 0 {
		what := plural(n, "entry", "entries") + ", " + sizeText(int64(st.Pending.Bytes))
		if !st.Pending.Since.IsZero() { // what went has no time
			what += ", since " + timeText(st.Pending.Since)
		}
		p("only here", "%s", what)
	}
	a.printContent(p, st)
	var differ, copies, aside []ancestor.Issue
	for _, i := range st.Issues {
		switch {
		case i.Kind == ancestor.Aside:
			aside = append(aside, i)
		case i.InSync():
			copies = append(copies, i)
		default:
			differ = append(differ, i)
		}
	}
	if len(differ) == 0 {
		p("out of sync", "nothing that was seen at the last sync")
	} else {
		p("out of sync", "%s", plural(len(differ), "entry", "entries"))
		a.printIssues(differ)
	}
	if len(copies) > 0 {
		p("copies", "%d; ensync conflicts tells whose they are", len(copies))
		a.printIssues(copies)
	}
	if len(aside) > 0 {
		p("kept aside", "%s", plural(len(aside), "entry", "entries"))
		a.printIssues(aside)
	}
	return nil
}

// printContent tells where the content of a mounted tree is.
func (a *app) printContent(p func(what, format string, args ...any), st service.Status) {
	if c := st.Content; c != nil {
		of := ""
		if time.Since(c.AsOf) > time.Minute {
			of = "; counted " + timeText(c.AsOf)
		}
		p("content", "%s, %s: %s here, %s only in the store%s", plural(c.Files, "file", "files"), sizeText(int64(c.Bytes)),
			sizeText(int64(c.Local)), sizeText(int64(c.Bytes-c.Local)), of)
		p("cache", "%s of %s", sizeText(c.Cache), sizeText(c.CacheMost))
	}
	if n := st.Pinned; n.Files > 0 || st.PinError != "" {
		p("pinned", "%s, %s", plural(n.Files, "file", "files"), sizeText(int64(n.Bytes)))
	}
	switch {
	case st.Pinned.Full:
		p("not all pinned", "the cache has no room for more of it; raise cache in the table [mount], or unpin something (%s)", st.PinError)
	case st.PinError != "":
		p("not all pinned", "%s", st.PinError)
	}
}

func (a *app) printIssues(list []ancestor.Issue) {
	for _, i := range list {
		fmt.Fprintf(a.stdout, "  %-10s %s: %s (since %s)\n", i.Kind, printable(i.Path), reasonText(i), timeText(i.Since))
	}
}

func reasonText(i ancestor.Issue) string {
	if i.Kind == ancestor.Copied {
		return fmt.Sprintf("%s; the other is %s", i.Reason, printable(original(i)))
	}
	return i.Reason
}

// watchText says how changes are noticed, and why not better.
func watchText(w *service.Watching) string {
	text := map[string]string{"mount": "the mount knows what is changed", "none": "nothing changes here while it is not mounted",
		"walk": "walk, looks at everything again and again"}[w.Method]
	text = cmp.Or(text, w.Method)
	if w.Told {
		text += "; the store tells of changes"
	} else {
		text += "; the store is asked every few seconds"
	}
	if w.Reason != "" {
		text += " (" + w.Reason + ")"
	}
	return text
}

func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return timeText(t)
}

func (a *app) printStatusJSON(cfg *config.Config, st service.Status, seen store.Seen) error {
	j := newJSONWriter(a.stdout)
	var w *watching
	if st.Watch != nil {
		w = &watching{Since: stampText(st.Watch.Since), Method: st.Watch.Method, Reason: st.Watch.Reason, Told: st.Watch.Told}
	}
	err := j.write(record{Type: "status", Status: &status{Content: contentOf(st), Config: cfg.Dir, Mounted: st.Mounted, Watch: w, Syncing: st.Syncing,
		Paused: st.Paused, LastSync: stampText(st.LastSync), LastError: st.LastError, OfflineSince: stampText(st.Offline),
		OfflineReason: st.Silence, Ending: st.Ending,
		PendingNames: st.Pending.Names, PendingBytes: st.Pending.Bytes,
		PendingSince: stampText(st.Pending.Since), Failed: st.Failed, Issues: len(st.Issues),
		Commit: seen.Seq, Fingerprint: seen.Fingerprint(), OthersMade: stampText(seen.OthersMade), OthersSeen: stampText(seen.OthersSeen),
		RefusedSince: stampText(seen.Refused)}})
	for _, i := range st.Issues {
		if err == nil {
			err = j.issue(i)
		}
	}
	return err
}

func contentOf(st service.Status) *content {
	c := st.Content
	if c == nil {
		return nil
	}
	return &content{AsOf: stampText(c.AsOf), Files: c.Files, Bytes: c.Bytes, LocalBytes: c.Local, RemoteBytes: c.Bytes - c.Local,
		CacheBytes: c.Cache, CacheLimit: c.CacheMost, PinnedFiles: st.Pinned.Files, PinnedBytes: st.Pinned.Bytes,
		PinnedOnDisk: c.Pinned, PinnedFailed: st.PinError}
}
