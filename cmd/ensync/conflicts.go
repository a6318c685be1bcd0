package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/engine/session"
	"ensync/store/object"
)

func (a *app) conflictsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "conflicts [CONFIG]",
		Short: "List what was changed on two machines, with whose and how old the versions are",
		Long: `List each name that two machines changed before they heard of each other: conflict
copies, where both versions were kept, and names of which the configured mode lets
neither version win. ensync resolve settles them.

It tells what was seen at the last sync. Exit code 0, whether there are any or not.`,
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
			st, err := a.status(cmd.Context(), cfg)
			if err == nil {
				err = a.printConflicts(conflictsIn(st.Issues), asJSON)
			}
			return interrupted(cmd.Context(), err)
		},
	}
	a.keyOption(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each conflict")
	return cmd
}

// conflictsIn are the issues of which there are two versions.
func conflictsIn(issues []ancestor.Issue) []ancestor.Issue {
	var list []ancestor.Issue
	for _, i := range issues {
		if i.Kind == ancestor.Copied || i.Kind == ancestor.Conflicted {
			list = append(list, i)
		}
	}
	return list
}

func (a *app) printConflicts(list []ancestor.Issue, asJSON bool) error {
	if asJSON {
		j := newJSONWriter(a.stdout)
		for _, i := range list {
			if err := j.issue(i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range list {
		fmt.Fprintf(a.stdout, "%s: %s (since %s)\n", printable(original(i)), i.Reason, timeText(i.Since))
		for _, v := range versions(i) {
			fmt.Fprintf(a.stdout, "  %-24s %s\n", printable(v.where), v.by)
		}
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stderr, "no conflicts were seen at the last sync")
	} else {
		fmt.Fprintln(a.stderr, "settle one with: ensync resolve PATH --keep mine|theirs|both")
	}
	return nil
}

// original is the path that both versions are of.
func original(i ancestor.Issue) string {
	if i.Of == "" {
		return i.Path
	}
	return replica.Join(replica.Parent(i.Path), i.Of)
}

// A side is one version of a conflict, in words.
type side struct{ where, by string }

func versions(i ancestor.Issue) [2]side {
	if i.Kind == ancestor.Copied {
		return [2]side{{i.Of, authorText(i.Other, i.Author)}, {baseName(i.Path), authorText(i.Author, i.Other)}}
	}
	return [2]side{{"on this machine", authorText(i.Other, i.Author)}, {"in the store", authorText(i.Author, i.Other)}}
}

func baseName(path string) string {
	_, name := replica.Split(path)
	return name
}

// authorText says who made a version, so that it can be told from the other.
func authorText(by, other object.Author) string {
	if by == (object.Author{}) {
		return "deleted, or nobody knows any more"
	}
	name := session.MachineName(by.Machine)
	switch {
	case name == "":
		name = "an unknown machine"
	case name == session.MachineName(other.Machine):
		name = by.Machine
	}
	if by.Time == 0 {
		return "of " + printable(name)
	}
	return fmt.Sprintf("of %s, %s", printable(name), time.Unix(0, by.Time).UTC().Format("2006-01-02 15:04:05Z"))
}
