# What people type. Everything else is in scripts/ and is called from here.

GO ?= $(shell command -v go || echo /usr/local/go/bin/go)
export GO
MOUNTPOINT ?= $(HOME)/Sync
PREFIX ?= /usr/local
SBINDIR ?= /sbin
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The race detector pays where goroutines share state. It needs a C compiler, which nothing else does.
RACY = ./store/... ./engine ./engine/localdir ./engine/remote/... ./engine/worktree/...
RACE = $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-- -race -short $(RACY))

SYSTEMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 freebsd/amd64

.PHONY: help run build install uninstall test test-s3 check fmt vet lint cross tidy bench bench-mount bench-scale soak powercut programs fuzz clean

help:
	@echo "make run     install what is missing, build, mount at $(MOUNTPOINT) (or MOUNTPOINT=...)"
	@echo "make test    all tests"
	@echo "make test-s3 the tests of stores in buckets, with a real server (builds one at first, which takes minutes)"
	@echo "make check   gofmt, vet, staticcheck, builds for every system, go.mod"
	@echo "make bench   compare with cp -a and the native file system"
	@echo "make bench-mount   the mount beside the native file system, go-fuse's loop-back, gocryptfs and rclone (BENCH=\"-jobs big\")"
	@echo "make bench-scale   10 000, 100 000 and 1 000 000 files: time, memory, bytes (SCALE=\"-files 100000\")"
	@echo "make soak    two machines, random edits, kill -9 (SOAK=\"-for 1h\"; -beside: edits while syncs run)"
	@echo "make powercut  cut the power of the disk below a mount (CUTS=\"-cuts 100 -fs xfs\"; needs root)"
	@echo "make fuzz    every fuzz test, one after another (FUZZ=\"-fuzztime 1m ./keys\")"
	@echo "make programs    git, go, npm, SQLite, PostgreSQL, editors, rsync ... on a mount (PROGRAMS=\"git tar\")"
	@echo "make build   bin/ensync"
	@echo "make install bin/ensync to $(PREFIX)/bin, and $(SBINDIR)/mount.fuse.ensync for mount -t and fstab (uninstall takes both away)"

run:
	@scripts/bootstrap
	@$(MAKE) --no-print-directory build
	bin/ensync mount "$(MOUNTPOINT)"
	@scripts/next "$(MOUNTPOINT)"

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ensync ./cmd/ensync

# mount(8) looks for its helpers in /sbin only.
install: build
	install -D -m 0755 bin/ensync "$(DESTDIR)$(PREFIX)/bin/ensync"
	install -d "$(DESTDIR)$(SBINDIR)"
	ln -sf "$(PREFIX)/bin/ensync" "$(DESTDIR)$(SBINDIR)/mount.fuse.ensync"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/ensync" "$(DESTDIR)$(SBINDIR)/mount.fuse.ensync"

test: vet
	@scripts/bootstrap --optional
	@$(GO) build -o bin/runtests ./scripts/runtests
	@bin/runtests ./... $(RACE)

# The same tests as in "make test", and those that need a server that can be killed.
test-s3:
	@server=$$(scripts/versitygw) && export ENSYNC_VERSITYGW="$$server" && \
	$(GO) test -count=1 ./store/s3 -run TestReal && $(GO) test -count=1 ./cmd/ensync -run TestS3Scripts

check: fmt vet lint cross tidy
	@echo "check: all well"

fmt:
	@files=$$($$($(GO) env GOROOT)/bin/gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "not formatted (run gofmt -w):"; echo "$$files"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(STATICCHECK) ./...

# Pure Go everywhere; vet looks at each system's own files.
cross:
	@for s in $(SYSTEMS); do \
		echo "cross $$s"; \
		export CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/}; \
		$(GO) build -o /dev/null ./cmd/ensync && $(GO) vet ./... || exit 1; \
	done

tidy:
	$(GO) mod tidy -diff

bench: build
	$(GO) run ./scripts/bench -ensync bin/ensync $(BENCH)

bench-mount: build
	$(GO) run ./scripts/benchmount -ensync bin/ensync $(BENCH)

bench-scale: build
	$(GO) run ./scripts/scale -ensync bin/ensync $(SCALE)

soak: build
	$(GO) run ./scripts/soak -ensync bin/ensync $(SOAK)

powercut: build
	@$(GO) build -o bin/powercut ./scripts/powercut
	bin/powercut -ensync bin/ensync $(CUTS)

programs: build
	scripts/programs bin/ensync $(PROGRAMS)

fuzz:
	scripts/fuzz $(FUZZ)

clean:
	rm -rf bin dist
