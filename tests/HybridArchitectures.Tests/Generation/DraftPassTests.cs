using HybridArchitectures.Generation;
using HybridArchitectures.Tests.Models;

namespace HybridArchitectures.Tests.Generation;

public class DraftPassTests
{
    /// <summary>A captured pass with a module that reads the device on the host ended the process on a GPU.</summary>
    [Fact]
    public void Passes_are_captured_unless_a_module_is_custom_or_reads_lengths_or_sizes_on_the_host()
    {
        string[] refused = ["own mixer", "latent attention", "differential attention"];
        // with more tokens, experts are computed by groups, whose sizes the host reads in float32
        string[] grouped = ["experts", "gated delta"];
        foreach (var design in TinyDesigns.All)
        {
            using var model = TinyDesigns.Model(design.Name!);
            Assert.True(refused.Contains(design.Name) != DraftPass.MayCapture(model, 4), $"{design.Name}, 4 tokens");
            Assert.True(refused.Concat(grouped).Contains(design.Name) != DraftPass.MayCapture(model, 8), $"{design.Name}, 8 tokens");
        }
    }
}
