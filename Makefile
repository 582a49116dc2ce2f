# Every target only calls the task of the same name: see deno.json.
TASKS := start chat demo test ok sim bench compile
.PHONY: $(TASKS)
$(TASKS):
	deno task $@ $(ARGS)
