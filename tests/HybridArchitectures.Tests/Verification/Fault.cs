namespace HybridArchitectures.Tests.Verification;

/// <summary>What is wrong with a <see cref="BrokenMixer"/>.</summary>
public enum Fault
{
    None, SeesTheNextToken, CountsPads, ForgetsItsState, StepsDifferently, LeaksOverDocuments, MixesRows, MovesRows, KeepsMoreThanItsTensors, Throws,
        GivesNaN, CountsItsCacheWrongly,
}
