package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine"
	"ensync/engine/config"
	"ensync/engine/service"
)

func (a *app) fetchCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fetch [CONFIG] PATH...",
		Short: "Bring the content of files in a mounted tree to this machine",
		Long: `Bring the content of files, and of all files below directories, to this machine, so that
they can be read at once and while the store is out of reach. PATH is where they lie in the
mounted tree, or relative to it. What was fetched stays until the cache needs its room for
something that was read later; to keep it, see ensync pin.

The exit code is 3 if single files could not be fetched.`,
		Args: between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.onContent(cmd.Context(), args, func(ctx context.Context, c *service.Client, paths []string) error {
				return a.showFetch(asJSON, func(report func(engine.Event)) (engine.Summary, error) { return c.Fetch(ctx, paths, report) })
			}))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON objects")
	return cmd
}

func (a *app) pinCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pin [CONFIG] [PATH...]",
		Short: "Keep files of a mounted tree on this machine",
		Long: `Fetch files, or directories with all that is in them, and keep them on this machine: also what
comes into these directories later, and across restarts. A directory stays pinned where it is
moved to, a file is pinned by its name. ensync unpin ends it.

What is pinned counts as part of the cache, and may take nine tenths of it (cache in the table
[mount]). Interrupted, the mount goes on fetching. Without PATH, list what is pinned.`,
		Args: between(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.onContent(cmd.Context(), args, func(ctx context.Context, c *service.Client, paths []string) error {
				if len(paths) == 0 {
					return a.listPins(ctx, c, asJSON)
				}
				return a.showFetch(asJSON, func(report func(engine.Event)) (engine.Summary, error) { return c.Pin(ctx, paths, report) })
			}))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON objects")
	return cmd
}

func (a *app) unpinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unpin [CONFIG] PATH...",
		Short: "Let pinned files of a mounted tree go when their room is needed",
		Long: `Undo ensync pin, for a directory with all that is pinned below it. Nothing is removed: it is
cached from then on, like what was read.`,
		Args: between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.onContent(cmd.Context(), args, func(ctx context.Context, c *service.Client, paths []string) error {
				return c.Unpin(ctx, paths)
			}))
		},
	}
}

// onContent calls fn with the mount that is meant, and the paths in its tree.
func (a *app) onContent(ctx context.Context, args []string, fn func(context.Context, *service.Client, []string) error) error {
	dir, args := a.configArg(args)
	if at := mountAround(args); dir == "" && at != "" {
		dir = at
	}
	cfg, err := a.load(dir)
	if err != nil {
		return err
	}
	client, err := service.Dial(ctx, cfg.Dir)
	if err != nil {
		return fmt.Errorf("%w; only of a mounted tree, content can be elsewhere", err)
	}
	paths := make([]string, 0, len(args))
	for _, arg := range args {
		paths = append(paths, pathInMount(cfg, arg))
	}
	return fn(ctx, client, paths)
}

// mountAround returns the configuration of the mounted tree in which the first of some paths lies; empty if it lies in none.
func mountAround(args []string) string {
	found, longest := "", -1
	for _, m := range ourMounts() {
		if len(args) > 0 && len(m.dir) > longest && isInside(m.dir, realPath(args[0])) {
			found, longest = m.source, len(m.dir)
		}
	}
	return found
}

// pathInMount returns the path in the tree of what lies there on this machine, or else of what is named relative to the tree.
func pathInMount(cfg *config.Config, arg string) string {
	if at, real := mountOf(cfg), realPath(arg); at != "" && isInside(at, real) {
		return strings.Trim(strings.TrimPrefix(real, at), "/")
	}
	return insideTree(cfg, arg)[0]
}

// realPath is an absolute path without symbolic links in its directory.
func realPath(arg string) string {
	abs, err := filepath.Abs(arg)
	if err != nil {
		return arg
	}
	if up, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(up, filepath.Base(abs))
	}
	return abs
}

func isInside(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+string(os.PathSeparator))
}

// showFetch shows how content comes.
func (a *app) showFetch(asJSON bool, do func(func(engine.Event)) (engine.Summary, error)) error {
	p := newProgress(nil)
	if isTerminal(a.stderr) {
		p.w = a.stderr
	}
	var j *jsonWriter
	if asJSON {
		j = newJSONWriter(a.stdout)
	}
	sum, err := do(func(e engine.Event) {
		if e.Kind == engine.Error && j == nil {
			p.end()
			fmt.Fprintf(a.stderr, "error: %v\n", e.Err)
		}
		p.event(e, e.Kind == engine.Error)
		if j != nil {
			j.fetched(e, p.meter)
		}
	})
	p.end()
	result := "complete"
	switch {
	case err != nil:
		result = "failed"
	case sum.Failed > 0:
		result, err = "incomplete", errOutOfSync
	}
	if j != nil {
		r := record{Type: "fetch_finished", Result: result, Summary: summaryOf(sum, false)}
		if result == "failed" {
			r.ErrorMessage = err.Error()
		}
		if writing := j.write(r); writing != nil {
			return writing
		}
	} else if result != "failed" {
		text := fmt.Sprintf("%s here, %s", plural(sum.In.Updated, "file is", "files are"), sizeText(sum.In.Bytes))
		if sum.Failed > 0 {
			text += fmt.Sprintf("; %s failed", plural(sum.Failed, "file", "files"))
		}
		fmt.Fprintln(a.stderr, text)
	}
	return err
}

// fetched prints an event of a fetch.
func (j *jsonWriter) fetched(e engine.Event, m *meter) {
	switch e.Kind {
	case engine.Transfer, engine.Error:
		r := record{Type: "fetch_file"}
		r.Path, r.PathBase64 = name(e.Path)
		if e.Err != nil {
			r.Type, r.ErrorMessage = "fetch_error", e.Err.Error()
		}
		j.write(r)
	}
	if now := time.Now(); e.Kind == engine.Planned || now.Sub(j.told) >= progressEvery {
		j.told = now
		j.write(record{Type: "fetch_progress", Progress: progressOf(m, now)})
	}
}

func (a *app) listPins(ctx context.Context, c *service.Client, asJSON bool) error {
	paths, err := c.Pins(ctx)
	j := newJSONWriter(a.stdout)
	for _, path := range paths {
		switch {
		case err != nil:
			return err
		case asJSON:
			r := record{Type: "pin"}
			r.Path, r.PathBase64 = name(path)
			err = j.write(r)
		default:
			_, err = fmt.Fprintln(a.stdout, a.shown("/"+path))
		}
	}
	return err
}
