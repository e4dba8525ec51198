using System.Text.Json.Serialization;
using HybridArchitectures.Models;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Selects the optimizer of a run and contains its constants: <see cref="AdamWOptions"/> or <see cref="MuonOptions"/>.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(AdamWOptions), "adamw")]
[JsonDerivedType(typeof(MuonOptions), "muon")]
public abstract record OptimizerOptions
{
    private protected OptimizerOptions()
    {
    }

    /// <summary>Creates the optimizer for the parameters of a model.</summary>
    /// <param name="parameters">The parameters, as <see cref="HybridLanguageModel.Parameters"/> lists them.</param>
    public abstract Optimizer Create(IEnumerable<ModelParameter> parameters);

    internal abstract void Check();

    /// <summary>Returns the prefixes of the names of the state tensors of a parameter.</summary>
    internal virtual IReadOnlyList<string> StateOf(ModelParameter parameter) => [Optimizer.FirstPrefix, Optimizer.SecondPrefix];

    /// <summary>Returns whether a parameter must be updated as a whole.</summary>
    internal virtual bool IsIndivisible(ModelParameter parameter) => false;
}
