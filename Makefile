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
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m grpc_tools.protoc -Isnsnode/rpc=proto --python_out=. --mypy_out=. --grpc_python_out=. --mypy_grpc_out=. proto/*.proto
schema:
	$(PY) -m snsnode.spec.schema > conf/cluster.schema.json
docs:
	$(PY) docs/generate.py
check: lint type layers test
