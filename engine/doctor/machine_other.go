//go:build !linux

package doctor

// watches has nothing to look at: there is no inotify.
func (e *examination) watches() {}

// mountHelper says that nothing is mounted here.
func (e *examination) mountHelper() {
	e.skip("mount helper", "ensync mount is for Linux")
}
