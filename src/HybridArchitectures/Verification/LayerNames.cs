using HybridArchitectures.Models;

namespace HybridArchitectures.Verification;

/// <summary>What reports call a layer.</summary>
static class LayerNames
{
    /// <summary>A block by its number from 0, or the final norm behind the last.</summary>
    public static string ForLayer(HybridLanguageModel model, int layer)
    {
        if (layer >= model.Stack.Blocks.Count) return "final norm";
        var block = model.Stack.Blocks[layer];
        return $"block {layer + 1} ({string.Join(", ", new object?[] { block.Mixer, block.FeedForward }.OfType<object>().Select(part => part.GetType().Name))})";
    }
}
