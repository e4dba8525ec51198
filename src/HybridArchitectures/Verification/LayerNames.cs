using HybridArchitectures.Models;

namespace HybridArchitectures.Verification;

/// <summary>Creates the names of layers in reports.</summary>
static class LayerNames
{
    /// <summary>Returns the name of a block, counted from 0. The number after the last block means the final norm.</summary>
    public static string ForLayer(HybridLanguageModel model, int layer)
    {
        if (layer >= model.Stack.Blocks.Count) return "final norm";
        var block = model.Stack.Blocks[layer];
        var parts = new object?[] { block.Mixer, block.FeedForward }.OfType<object>().Select(part => part.GetType().Name);
        return $"block {layer + 1} ({string.Join(", ", parts)})";
    }
}
