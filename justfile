# What people type. `just` lists it. Each line is a command that also works without just.

# List these
default:
    @just --list --unsorted

# A tour in a temporary directory
demo:
    cargo demo

# The tests whose names contain the words; without the clouds
test *WORDS:
    cargo quick-test {{WORDS}}

# All tests, with the clouds' servers
test-all:
    cargo test

# Formatting, lints, documentation
check:
    bash .ci/run fmt clippy doc

# Everything that CI runs, or only the steps that are named
ci *STEPS:
    bash .ci/run {{STEPS}}

# Fuzz each target for so many seconds
fuzz SECONDS="60":
    bash fuzz/run.sh {{SECONDS}}

# The program as packages have it
dist:
    cargo build --profile dist --locked

# A static archive with manual pages and completions, in target/packages
tarball *OPTIONS:
    packaging/tarball.sh {{OPTIONS}}

# The Debian package audit-trail
deb *OPTIONS:
    packaging/deb.sh {{OPTIONS}}

# The container image, without an engine
image *OPTIONS:
    packaging/image.sh {{OPTIONS}}

# The bill of materials
sbom *OPTIONS:
    packaging/sbom.sh {{OPTIONS}}

# Each package, built from one program and used as its reader would (root)
packages BINARY="target/release/auditctl" *PARTS:
    packaging/test.sh --binary {{BINARY}} {{PARTS}}
