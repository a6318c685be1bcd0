package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/config"
	"ensync/engine/manual"
	"ensync/engine/plan"
	"ensync/engine/session"
)

// keepWords are what --keep takes.
var keepWords = []string{"mine", "theirs", "both", "original", "copy"}

func (a *app) resolveCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "resolve [CONFIG] PATH... --keep mine|theirs|both",
		Short: "Settle conflicts: keep this machine's version, the other's, or both",
		Long: `Settle conflicts that ensync conflicts lists, and sync. PATH is the name that was changed
on both sides, or its copy: relative to the tree, or where it lies on this machine.

--keep mine keeps the version that was made on this machine, under the original name,
and theirs the other one; what is not kept is deleted, everywhere. both keeps the two
files as they are, and the copy is listed as one no longer. original and copy say it by
name, where neither version was made on this machine.

Where the configured mode lets neither version win, or nothing be done, mine and theirs
let that version win this once, and both keeps both.

An edit that is not synced yet is not lost: it comes out as a new conflict. What another
machine changed since the last sync here, and nobody has seen, is not decided on: it is
refused or left out of sync, and may be resolved after a look at it.`,
		Args: between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(keepWords, keep) {
				return usagef("--keep %q: not known; allowed are %s", keep, strings.Join(keepWords, ", "))
			}
			dir, paths, err := a.named(args, 1)
			if err != nil {
				return err
			}
			return interrupted(cmd.Context(), a.resolve(cmd.Context(), dir, paths, keep))
		},
	}
	a.keyOption(cmd)
	cmd.Flags().StringVar(&keep, "keep", "", "which version to keep: `WHICH` is mine, theirs, both, original or copy")
	return cmd
}

// A settlement is what was decided on.
type settlement struct {
	copies map[string]choice          // of conflict copies, by path
	rest   map[string]engine.Decision // of what the rules keep out of sync
}

// A choice is about one conflict copy.
type choice struct {
	keep manual.Keep
	seen manual.Seen
}

func (a *app) resolve(ctx context.Context, dir string, paths []string, keep string) error {
	cfg, err := a.load(dir)
	if err != nil {
		return err
	}
	st, err := a.status(ctx, cfg)
	if err != nil {
		return err
	}
	s := settlement{map[string]choice{}, map[string]engine.Decision{}}
	for _, path := range paths {
		i, err := findIssue(st.Issues, insideTree(cfg, path))
		if err != nil {
			return fmt.Errorf("resolve %s: %w", path, err)
		}
		if err := s.add(i, keep, session.Machine(cfg)); err != nil {
			return fmt.Errorf("resolve %s: %w", path, err)
		}
	}
	return a.settle(ctx, cfg, s)
}

// findIssue returns the issue of a name, or of the only copy of it; candidates are where the name may be in the tree.
func findIssue(issues []ancestor.Issue, candidates []string) (ancestor.Issue, error) {
	for _, path := range candidates {
		var copies []ancestor.Issue
		for _, i := range issues {
			if i.Path == path && i.Kind != ancestor.Aside {
				return i, nil
			}
			if i.Kind == ancestor.Copied && original(i) == path {
				copies = append(copies, i)
			}
		}
		if len(copies) == 1 {
			return copies[0], nil
		}
		if len(copies) > 1 {
			return ancestor.Issue{}, fmt.Errorf("there are %d copies of it; say which one, such as %s", len(copies), printable(copies[0].Path))
		}
	}
	return ancestor.Issue{}, errors.New("it was in no conflict at the last sync; ensync conflicts lists what was")
}

// insideTree returns what a path may mean: one that is relative to the tree, or one on this machine that lies in it.
func insideTree(cfg *config.Config, arg string) []string {
	candidates := []string{strings.TrimPrefix(path.Clean("/"+arg), "/")}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return candidates
	}
	if up, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(up, filepath.Base(abs))
	}
	roots := []string{cfg.General.Path}
	if m := mountOf(cfg); m != "" {
		roots = append(roots, m)
	}
	for _, root := range roots {
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		if rel, err := filepath.Rel(root, abs); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(os.PathSeparator)) {
			candidates = append([]string{filepath.ToSlash(rel)}, candidates...)
		}
	}
	return candidates
}

// add decides on one issue.
func (s *settlement) add(i ancestor.Issue, keep, machine string) error {
	switch i.Kind {
	case ancestor.Failed:
		return fmt.Errorf("it failed (%s) and is tried again at each sync; there is nothing to choose from", i.Reason)
	case ancestor.Copied:
		which, err := keepOfCopy(i, keep, machine)
		s.copies[i.Path] = choice{which, manual.Seen{Copy: i.Seen, Original: i.SeenOf}}
		return err
	}
	mode, ok := map[string]plan.Mode{"mine": must("---/CUD"), "theirs": must("CUD/---"), "both": must("cud/cud")}[keep]
	if !ok {
		return fmt.Errorf("there is no copy; choose --keep mine (this machine's), theirs (the store's) or both")
	}
	s.rest[i.Path] = engine.Decision{Mode: mode, Seen: i.Seen}
	return nil
}

func must(mode string) plan.Mode {
	m, err := plan.ParseMode(mode)
	if err != nil {
		panic("resolve: " + err.Error())
	}
	return m
}

// keepOfCopy says which of the two files a word means here.
func keepOfCopy(i ancestor.Issue, keep, machine string) (manual.Keep, error) {
	mineIsCopy, mineIsOriginal := i.Author.Machine == machine, i.Other.Machine == machine
	switch {
	case keep == "both":
		return manual.KeepBoth, nil
	case keep == "original":
		return manual.KeepOriginal, nil
	case keep == "copy":
		return manual.KeepCopy, nil
	case mineIsCopy == mineIsOriginal:
		v := versions(i)
		return 0, fmt.Errorf("this machine did not make exactly one of the versions (%s: %s; %s: %s); choose --keep original or --keep copy",
			printable(v[0].where), v[0].by, printable(v[1].where), v[1].by)
	case (keep == "mine") == mineIsCopy:
		return manual.KeepCopy, nil
	}
	return manual.KeepOriginal, nil
}

// settle carries out what was decided, in the store and by a sync.
func (a *app) settle(ctx context.Context, cfg *config.Config, s settlement) error {
	flags := &syncFlags{colour: "auto", spin: "auto", strategy: "auto", resolve: s.rest}
	run := &syncRun{app: a, flags: flags, display: a.newDisplay(flags), path: cfg.Dir}
	defer run.forget()
	if len(s.copies) > 0 {
		if err := a.settleCopies(ctx, run, cfg, s.copies); err != nil {
			return err
		}
	}
	return run.start(ctx)
}

func (a *app) settleCopies(ctx context.Context, run *syncRun, cfg *config.Config, copies map[string]choice) error {
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	if run.pass, err = a.passphrase(ctx, cfg, opt); err != nil {
		return err
	}
	st, err := session.OpenStore(ctx, cfg, run.pass, opt)
	if err != nil {
		return err
	}
	trees := manual.New(st.Store, cfg.General.ServerRoot)
	for path, c := range copies {
		if err = trees.Resolve(ctx, "/"+cfg.General.ServerRoot+"/"+path, c.keep, c.seen); err != nil {
			break
		}
	}
	return errors.Join(err, trees.Close(), st.Close())
}
