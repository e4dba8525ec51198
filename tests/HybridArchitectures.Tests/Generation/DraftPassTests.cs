using HybridArchitectures.Generation;
using HybridArchitectures.Tests.Models;

namespace HybridArchitectures.Tests.Generation;

public class DraftPassTests
{
    /// <summary>A captured pass with an unsuitable module ended the process on a GPU, so a design needs the consent of all of its modules.</summary>
    [Fact]
    public void Passes_are_captured_only_for_designs_of_modules_that_were_captured_on_a_GPU()
    {
        string[] few = ["sliding window", "mamba2", "mamba2 limits", "mamba1", "inter", "experts", "experts before", "feed-forward alone", "scales",
            "odd rotary part", "scaled positions", "untied"];
        foreach (var design in TinyDesigns.All)
        {
            using var model = TinyDesigns.Model(design.Name!);
            Assert.True(few.Contains(design.Name) == DraftPass.MayCapture(model, 4), $"{design.Name}, 4 tokens");
            // with more tokens, experts are computed by groups, whose sizes the host may have to read
            Assert.True((few.Contains(design.Name) && design.Name != "experts") == DraftPass.MayCapture(model, 8), $"{design.Name}, 8 tokens");
        }
    }
}
