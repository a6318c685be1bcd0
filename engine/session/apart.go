package session

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"ensync/engine/config"
	"ensync/store/cache"
)

// Apart refuses a store that lies in the tree it is to keep, or the other way round: each sync would store what the one
// before it stored, for ever.
func Apart(server config.Server, tree string) error {
	if server.Kind == config.ServerPath && (inside(server.Path, tree) || inside(tree, server.Path)) {
		return fmt.Errorf("the store %s and the tree lie one in the other, so each sync would store what the one before it stored",
			server.Path)
	}
	return nil
}

func (s *Store) checkApart(tree string) error {
	if err := Apart(s.Config.General.Server, tree); err != nil {
		return fmt.Errorf("open the local tree %s: %w; move one of them, and correct %s", tree, err,
			filepath.Join(s.Config.Dir, config.FileName))
	}
	if path := cache.DefaultDir(); path != "" && inside(path, tree) {
		s.notice(fmt.Sprintf("the cache %s lies in the tree %s and is synchronised with it; exclude it by a rule, or set "+
			"ENSYNC_CACHE_DIR to another place", path, tree))
	}
	return nil
}

// lookTime bounds looking at where a store lies: its file system may be one that does not answer.
const lookTime = time.Second

// CheckMountPoint refuses a mount point that lies in what the mount stands on, or would hide it.
func CheckMountPoint(cfg *config.Config, point string) error {
	stands := map[string]string{"configuration": cfg.Dir, "cache": cache.DefaultDir()}
	if cfg.General.Server.Kind == config.ServerPath {
		stands["store"] = cfg.General.Server.Path
	}
	for what, dir := range stands {
		if dir == "" {
			continue
		}
		found := make(chan error, 1)
		go func() {
			switch {
			case inside(point, dir):
				found <- fmt.Errorf("mount at %s: it lies in the %s %s; choose a directory elsewhere", point, what, dir)
			case inside(dir, point):
				found <- fmt.Errorf("mount at %s: the %s %s lies in it, and the mount would hide that; choose a directory elsewhere", point, what, dir)
			default:
				found <- nil
			}
		}()
		select {
		case err := <-found:
			if err != nil {
				return err
			}
		case <-time.After(lookTime): // what does not answer is no place for a mount point, either
		}
	}
	return nil
}

// inside reports whether path is dir or lies in it, whatever symbolic links lead there.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// real resolves symbolic links as far as the path exists.
func real(path string) string {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		return whole
	}
	up := filepath.Dir(path)
	if up == path {
		return path
	}
	return filepath.Join(real(up), filepath.Base(path))
}
