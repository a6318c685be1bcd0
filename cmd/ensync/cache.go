package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/session"
	"ensync/store/cache"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show and clean the local cache of what lies in stores",
		Long: `The cache keeps encrypted pieces of stores on this machine, so that they are fetched
once. All configurations share it: it has a part for each store. It is bounded by
cache in the table [mount], and may be cleaned or removed at any time, also while
ensync runs: what is missing is fetched again.`,
		Args: cobra.ArbitraryArgs,
		RunE: groupOnly,
	}
	cmd.AddCommand(a.cachePath(), a.cacheList(), a.cacheClean())
	return cmd
}

func (a *app) cachePath() *cobra.Command {
	return &cobra.Command{
		Use:   "path",
		Short: "Print where the cache is",
		Long: `Print where the cache is: $ENSYNC_CACHE_DIR, else $XDG_CACHE_HOME/ensync, else
~/.cache/ensync. It may not be there yet.`,
		Args: between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			dir, err := cacheDir()
			if err == nil {
				_, err = fmt.Fprintln(a.stdout, dir)
			}
			return err
		},
	}
}

func cacheDir() (string, error) {
	if dir := cache.DefaultDir(); dir != "" {
		return dir, nil
	}
	return "", errors.New("cache: there is no home directory, so nothing is kept; set ENSYNC_CACHE_DIR to have a cache")
}

func (a *app) cacheList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls [CONFIG]",
		Short: "List what the cache has of each store",
		Long: `List the stores that the cache has something of, or only that of CONFIG: bytes, number
of pieces, when it was used last, and the id of the store.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachCache(cmd.Context(), args, func(_ string, p cache.Part) error {
				used := fmt.Sprintf("%17s", "")
				if !p.Used.IsZero() {
					used = timeText(p.Used)
				}
				_, err := fmt.Fprintf(a.stdout, "%12d  %8d  %s  %s\n", p.Bytes, p.Pieces, used, p.Store)
				return err
			})
		},
	}
}

// cacheUnused is after how many days without use a piece is not worth its room, if nobody says otherwise.
const cacheUnused = 30

func (a *app) cacheClean() *cobra.Command {
	var older int
	var all bool
	cmd := &cobra.Command{
		Use:   "clean [CONFIG]",
		Short: "Remove what was not used for long from the cache",
		Long: `Remove what was not used for 30 days, or for the days that --older says, from the parts
of all stores, or of that of CONFIG. --all removes everything.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if older < 0 || all && cmd.Flags().Changed("older") {
				return usagef("--older takes a number of days, and does not go with --all")
			}
			since := time.Now().AddDate(0, 0, -older)
			if all {
				since = time.Now().AddDate(100, 0, 0) // whatever the clock was when it was used
			}
			var freed int64
			err := a.eachCache(cmd.Context(), args, func(dir string, p cache.Part) error {
				n, err := cache.Trim(cmd.Context(), dir, p.Store, since)
				freed += n
				return err
			})
			fmt.Fprintf(a.stderr, "Removed %s.\n", sizeText(freed))
			return err
		},
	}
	cmd.Flags().IntVar(&older, "older", cacheUnused, "remove what was not used for so many `DAYS`")
	cmd.Flags().BoolVar(&all, "all", false, "remove everything")
	return cmd
}

// eachCache calls fn for what the cache has of each store, or of the one that a configuration is named for.
func (a *app) eachCache(ctx context.Context, args []string, fn func(dir string, p cache.Part) error) error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	only := ""
	if path, err := a.configOnly(args); err != nil {
		return err
	} else if path != "" {
		if only, err = a.rememberedStore(path); err != nil {
			return err
		}
	}
	parts, err := cache.Parts(ctx, dir)
	for _, p := range parts {
		if ctx.Err() == nil && (only == "" || p.Store == only) {
			err = errors.Join(err, fn(dir, p))
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return interrupted(ctx, err)
}

// rememberedStore returns the id of the store that a configuration was used with.
func (a *app) rememberedStore(path string) (string, error) {
	cfg, err := a.load(path)
	if err != nil {
		return "", err
	}
	id, known, err := session.StoreID(cfg)
	if err == nil && !known {
		err = fmt.Errorf("config %s: it was not used with a store yet, so the cache has nothing of it", cfg.Dir)
	}
	return fmt.Sprintf("%x", id), err
}
