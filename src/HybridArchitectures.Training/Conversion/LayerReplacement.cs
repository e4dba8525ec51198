namespace HybridArchitectures.Training.Conversion;

/// <summary>Specifies what replaces a layer whose importance is measured.</summary>
public enum LayerReplacement
{
    /// <summary>A mixer that returns 0, so that the layer consists of its feed-forward.</summary>
    None,

    /// <summary>Keeps the attention and limits it to a sliding window.</summary>
    Window,
}
