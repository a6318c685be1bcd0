package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ensync/engine/config"
	"ensync/engine/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [CONFIG]",
		Short: "Look for what is wrong, and say what to do",
		Long: `Look at everything that CONFIG stands on: permissions, the state of this machine, the
tree, free space, the cache, what the kernel lets be watched and mounted; the
connection to the store, its format, keys and their copy, clocks, and what the store
keeps by a self-test; of a bucket also lifecycle rules, versioning and object lock.
With the passphrase also the tree in the store, and whether anything is missing there.

Each check prints one line: ok, skip (it could not be looked at), warn or fail, and
what to do. The exit code is 1 if anything failed. Nothing is changed; the self-test
removes what it wrote. A passphrase is asked for on a terminal only.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return interrupted(cmd.Context(), a.doctor(cmd.Context(), path, asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON objects")
	return a.keyOption(cmd)
}

func (a *app) doctor(ctx context.Context, path string, asJSON bool) error {
	var printing error
	failed := 0
	report := func(f doctor.Finding) {
		if f.Level == doctor.Fail {
			failed++
		}
		printing = errors.Join(printing, a.printFinding(f, asJSON))
	}
	cfg, err := a.load(path)
	if err == nil {
		report(doctor.Finding{Check: "configuration", Level: doctor.OK, Says: cfg.Dir})
		err = a.examine(ctx, cfg, report)
	} else {
		report(doctor.Finding{Check: "configuration", Level: doctor.Fail, Says: err.Error()})
		err = nil
	}
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("doctor: %s", plural(failed, "check failed", "checks failed")))
	}
	return errors.Join(err, printing)
}

func (a *app) examine(ctx context.Context, cfg *config.Config, report func(doctor.Finding)) error {
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	o := doctor.Options{Notice: opt.Notice, Report: report}
	if opt.Key != nil || cfg.General.Passphrase.Kind != config.PassphrasePrompt || isTerminal(a.stdin) {
		o.Pass = func(ctx context.Context) ([]byte, error) {
			src, err := configuredSource(cfg, opt)
			if err != nil {
				return nil, err
			}
			return src.Read(ctx, opt.Asker, "Passphrase: ")
		}
	}
	return doctor.Examine(ctx, cfg, o)
}

func (a *app) printFinding(f doctor.Finding, asJSON bool) error {
	if asJSON {
		return newJSONWriter(a.stdout).write(record{Type: "finding",
			Finding: &finding{f.Check, string(f.Level), text(f.Says), text(f.Next)}})
	}
	line := fmt.Sprintf("%-4s  %s: %s", f.Level, f.Check, f.Says)
	if f.Next != "" {
		line += "; " + f.Next
	}
	_, err := fmt.Fprintln(a.stdout, printable(strings.ReplaceAll(line, "\n", "; ")))
	return err
}
