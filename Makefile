# Two commands for a fresh Debian 12 or Ubuntu 24.04 machine: `make demo` and `make test`. CMakePresets.json holds the settings,
# setup/ fetches what a build needs; this file only puts them in order. A second run does what changed and no more.
#
#   make test PRESET=asan            another preset: release, debug, asan, cuda
#   make demo TORCH_ROOT=/opt/torch  a LibTorch that you have (include/ and lib/ in it); nothing is downloaded

PRESET ?= release
TORCH_ROOT ?=
RECIPE ?= recipes/lexel-128-gpu.json
build := build/$(PRESET)
cmake_build := cmake --build --preset $(PRESET)
programs := $(build)/lib/liblexel_programs.so
model := assets/lexel-128.safetensors
generator := assets/parti-128.safetensors
pictures := $(wildcard assets/pictures/*)
demo_caption := a big panda on a blue background

.DEFAULT_GOAL := help
.PHONY: help demo test test-data build gpu-bundle gpu-kernels-bundle gpu-status setup format tidy bench clean

help:  ## what each command does
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 26

demo: demo/sheet.png demo/panda.png  ## pictures of assets/ to tokens and back, on one contact sheet; a picture drawn from a caption
	@echo "original | reconstruction: $(CURDIR)/demo/sheet.png"
	@echo 'drawn from "$(demo_caption)": $(CURDIR)/demo/panda.png'

test: setup test-data $(build)/build.ninja  ## build everything, run all tests
	@$(cmake_build) --target all all_verify_interface_header_sets
	@ctest --preset $(PRESET)

test-data: setup
	@setup/test_data.sh

build: setup $(build)/build.ninja  ## programs, libraries and tests
	@$(cmake_build)

setup:  ## packages and LibTorch, where they are missing
	@setup/install.sh $(if $(TORCH_ROOT),--no-libtorch)

gpu-bundle: $(programs)  ## a training run for a machine with a GPU and no network (RECIPE=recipes/lexel-128-gpu.json)
	@apps/train/bundle/make_bundle.sh $(RECIPE) gpu-bundle --programs $(build) $(if $(DATA),--data $(DATA))

gpu-kernels-bundle: setup $(build)/build.ninja  ## the GPU hour: all CUDA tests and benchmarks, for a machine with a GPU and no network
	@$(cmake_build) --target gpu_hour
	@tests/gpu/make_bundle.sh gpu-kernels-bundle --programs $(build)

gpu-status:  ## which kernels changed since they last ran on a GPU
	@python3 tests/gpu/table.py status

format: test-data  ## clang-format over the tree
	@cmake -DCLANG_FORMAT="$${XDG_CACHE_HOME:-$$HOME/.cache}/lexel/test-python/bin/clang-format" -P cmake/format.cmake

tidy: build  ## clang-tidy over all sources
	@git ls-files '*.cpp' | grep -v ^tests/package/ | xargs -P 2 -n 4 clang-tidy --quiet -p $(build)

bench: setup $(build)/build.ninja  ## build the benchmarks, into build/<preset>/bin
	@$(cmake_build) --target benchmarks

clean:  ## remove build/, demo/ and the bundles; what setup/ fetched stays in ~/.cache/lexel
	@rm -rf build demo gpu-bundle gpu-kernels-bundle

$(build)/build.ninja: CMakePresets.json | setup
	@cmake --preset $(PRESET) $(if $(TORCH_ROOT),-DLEXEL_TORCH_ROOT=$(abspath $(TORCH_ROOT)))

# Ninja knows best whether it is up to date; each part of the demo runs again only if the library, a model or a picture of its own is newer.
$(programs): $(build)/build.ninja FORCE | setup
	@$(cmake_build) --target programs

demo/sheet.png: $(programs) $(model) $(pictures)
	@mkdir -p demo/back
	$(build)/bin/img2tok --model $(model) $(pictures) demo/pictures.tok.safetensors
	$(build)/bin/tok2img --model $(model) demo/pictures.tok.safetensors demo/back --sheet $@ --originals $(pictures)

demo/panda.png: $(programs) $(generator) $(model)
	@mkdir -p demo
	$(build)/bin/txt2img --model $(generator) --tokenizer $(model) "$(demo_caption)" --seed 0 -o $@

FORCE:
