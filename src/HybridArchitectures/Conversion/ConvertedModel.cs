using HybridArchitectures.Models;

namespace HybridArchitectures.Conversion;

/// <summary>Contains a converted model and the report of its weights.</summary>
/// <param name="Model">The model, which the caller disposes.</param>
/// <param name="Report">Where every weight comes from.</param>
public sealed record ConvertedModel(HybridLanguageModel Model, ConversionReport Report) : IDisposable
{
    /// <summary>Disposes the model.</summary>
    public void Dispose() => Model.Dispose();
}
