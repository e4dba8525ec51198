using HybridArchitectures.Generation;
using HybridArchitectures.Tests.Models;

namespace HybridArchitectures.Tests.Generation;

public class DraftPassTests
{
    /// <summary>A captured pass with a module that reads the device on the host ended the process on a GPU.</summary>
    [Fact]
    public void Passes_are_captured_unless_a_module_is_custom_or_reads_lengths_or_sizes_on_the_host()
    {
        IEnumerable<string> Refused(int tokens)
        {
            foreach (var design in TinyDesigns.All)
            {
                using var model = TinyDesigns.Model(design.Name!);
                if (!DraftPass.MayCapture(model, tokens)) yield return design.Name!;
            }
        }
        Assert.Equal("own mixer, latent attention, differential attention", string.Join(", ", Refused(4)));
        // with more tokens, experts are computed by groups, whose sizes the host reads in float32
        Assert.Equal("experts, own mixer, experts in groups, gated delta, latent attention, norms after, differential attention",
            string.Join(", ", Refused(8)));
    }
}
