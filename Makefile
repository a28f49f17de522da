PY := .venv/bin/python
BIN := .venv/bin

.PHONY: setup fmt lint type layers test chaos bench mutations proto schema docs check
setup:
	bin/test --setup-only
fmt:
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
lint:
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
type:
	$(BIN)/mypy
layers:
	$(BIN)/lint-imports --config setup.cfg
test:
	$(BIN)/pytest
chaos:
	$(BIN)/pytest -m chaos
bench:
	for each in store recovery failover throughput scale; do $(PY) bench/$$each.py || exit 1; done
mutations:
	$(PY) -m tests.mutations
proto:
	bin/make-stubs snsnode/rpc
schema:
	$(PY) -m snsnode.spec.schema > conf/cluster.schema.json
docs:
	$(PY) docs/generate.py
check: lint type layers test
