# Writes OUT, which defines KernelSources() of sources.h: the text of each of FILES (a comma-separated
# list), named from ROOT.
string(REPLACE "," ";" FILES "${FILES}")
set(TABLE "")
foreach(FILE IN LISTS FILES)
  file(READ "${FILE}" TEXT)
  file(RELATIVE_PATH NAME "${ROOT}" "${FILE}")
  string(APPEND TABLE "    {\"${NAME}\", R\"embedded(${TEXT})embedded\"},\n")
endforeach()
file(WRITE "${OUT}" "#include \"ptx_templates/sources.h\"

namespace ptxsmith {
namespace {

constexpr SourceFile kFiles[] = {
${TABLE}};

}  // namespace

absl::Span<const SourceFile> KernelSources() { return kFiles; }

}  // namespace ptxsmith
")
