#pragma once

#include <vector>

#include "apps/txt2img/options.h"
#include "apps/txt2img/outputs.h"
#include "apps/txt2img/record.h"
#include "autoregressive/parallel/mesh.h"
#include "autoregressive/text_to_image.h"

namespace lexel::cli {

/// The ranks of this run, which share the generator along the axis "tensor"; one alone where nothing started several.
/// throws   Error(kUsage) another axis, a mesh of another number of ranks, captions from stdin for several ranks; Error(kIo)
///          ranks that did not come; Error(kUnsupported) several ranks on a GPU
parallel::Mesh drawing_mesh(const Txt2ImgOptions& options);

/// What this rank does of it: rank 0 writes and talks, the others only compute.
Txt2ImgOptions own_options(const Txt2ImgOptions& options, const parallel::Mesh& mesh);

/// Packs a rank's share of the generator. The mesh must outlive the models.
TextToImage::Pack pack_for(parallel::Mesh& mesh);

/// All ranks draw the same pictures with the same models.
/// throws   Error(kUsage) on every rank, naming those that differ
void check_same_drawing(const parallel::Mesh& mesh, const Txt2ImgOptions& options,
                        const Record& asked, const std::vector<Job>& jobs,
                        const TextToImage& model);

}  // namespace lexel::cli
