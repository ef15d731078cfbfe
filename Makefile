# The verbs of the repository. Each does what its line in "make help" says, from a
# fresh clone, on a machine that has Go and Debian's packages.

FUZZTIME ?= 60s
BENCH ?=

TOOLS := .cache/tools/golangci-lint

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## build nod and run one complete push sign-in
	bin/nod demo

.PHONY: build
build: ## build bin/nod, one static binary
	CGO_ENABLED=0 go build -trimpath -o bin/nod ./cmd/nod

.PHONY: package
package: ## build the Debian package into dist
	scripts/deb dist

.PHONY: test
test: ## install what the tests need, run the linters and every test
	scripts/needs
	go mod tidy -diff
	go vet ./...
	cd test/pebble && go mod tidy -diff && go vet ./...
	$(MAKE) --no-print-directory lint
	NOD_TEST_REQUIRE=all scripts/postgres go test -race -shuffle=on -p 2 -timeout 20m ./...

.PHONY: lint
lint: $(TOOLS) ## run the linters
	$(TOOLS) run ./...

.PHONY: format
format: $(TOOLS) ## format the code as the linters want it
	$(TOOLS) fmt ./...

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (60s)
	scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## measure what a sign-in costs beside what the machine can do, into bench/results
	scripts/bench $(BENCH)

# The linters have a module of their own, so that what they need never decides what nod
# is built from. Their versions are in its go.mod.
$(TOOLS): tools/go.mod tools/go.sum
	mkdir -p $(@D)
	cd tools && go build -o ../$(@D)/ tool
