package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/manual"
	"ensync/store/object"
)

func (a *app) listCommand() *cobra.Command {
	var human, owners bool
	cmd := &cobra.Command{
		Use:     "ls [CONFIG] PATH...",
		Aliases: []string{"dir"},
		Short:   "List directories in the store",
		Long:    "List directories in the store.\n" + pathHelp,
		Args:    between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.manual(cmd, args, 1, func(ctx context.Context, m *manual.Store, paths []string) error {
				var failed error
				for _, path := range paths {
					failed = errors.Join(failed, a.list(ctx, m, path, len(paths) > 1, human, owners))
				}
				return failed
			})
		},
	}
	cmd.Flags().Bool("help", false, "show this help")
	cmd.Flags().BoolVarP(&human, "human-readable", "h", false, "print sizes like 12M")
	cmd.Flags().BoolVar(&owners, "owner", false, "print owners and groups, where they are stored (sync_owner)")
	return a.keyOption(cmd)
}

func (a *app) list(ctx context.Context, m *manual.Store, path string, titled, human, owners bool) error {
	entries, err := m.List(ctx, path)
	if err != nil {
		return err
	}
	if titled {
		fmt.Fprintf(a.stdout, "%s:\n", a.shown(path))
	}
	for _, e := range entries {
		if owners {
			fmt.Fprintf(a.stdout, "%-8s %-8s ", ownerText(e.User), ownerText(e.Group))
		}
		if err := listEntry(a.stdout, e, human, a.shown); err != nil {
			return err
		}
	}
	if titled {
		fmt.Fprintln(a.stdout)
	}
	return nil
}

// listEntry prints one line of ls; reference 1.14.
func listEntry(w io.Writer, e object.Entry, human bool, show func(string) string) error {
	size, mode, stamp, name := e.Content.Size, e.Mode, fmt.Sprintf("%17s", ""), show(e.Name)
	switch {
	case e.Kind == object.Symlink:
		size, mode = int64(len(e.Target)), 0o7777
		name += " -> " + show(e.Target)
	case e.Kind == object.File && e.ModTime > 0:
		stamp = timeText(time.Unix(0, e.ModTime))
	}
	sized := fmt.Sprintf("%12d", size)
	if human {
		sized = humanSize(size)
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", modeText(e.Kind, mode), sized, stamp, name)
	return err
}

func ownerText(o object.Owner) string { return cmp.Or(printable(o.String()), "-") }

func humanSize(n int64) string {
	u := 0
	for ; n >= 10_000; u++ {
		n /= 1024
	}
	return fmt.Sprintf("%4d%c", n, "BkMGTPEZ"[u])
}

// modeText is a mode as ls -l shows it.
func modeText(kind object.Kind, mode uint32) string {
	letters := map[object.Kind]byte{object.File: '-', object.Directory: 'd', object.Symlink: 'l'}
	first, ok := letters[kind]
	if !ok {
		first = 'c'
	}
	b := []byte{first}
	for shift := 6; shift >= 0; shift -= 3 {
		bits := mode >> shift & 7
		for i, letter := range []byte("rwx") {
			if bits&(4>>i) == 0 {
				letter = '-'
			}
			b = append(b, letter)
		}
	}
	special := func(at int, bit uint32, set, alone byte) {
		switch {
		case mode&bit == 0:
		case b[at] == 'x':
			b[at] = set
		default:
			b[at] = alone
		}
	}
	special(3, 0o4000, 's', 'S')
	special(6, 0o2000, 's', 'S')
	special(9, 0o1000, 't', 'T')
	return string(b)
}
